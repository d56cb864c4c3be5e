"""What the steps of a run share: whom they ask, in which order, who is told."""
