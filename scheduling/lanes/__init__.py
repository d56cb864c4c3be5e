"""One lane of a model: which request goes when and where; `lane_state` decides, `open_lane` does it."""
