"""One lane of a model: which request goes when and where; `lane_state` decides, `open_lane` does it.

From the top down, each importing only what stands below it:

    open_lane       drives an open lane on its event loop: makes the calls and looks, wakes the decisions
    lane            what a user says of a model: its endpoints and settings
    lane_state      which request goes when and where, with what follows
    hedging, looks  a call that hangs, asked once more beside it; what health checks tell
    unanswered      what becomes of flights without an answer, by
    recovery          who tries again, and when: by the table in `scheduling.retry`, and
    doubt             whether a request or its server is to blame (a canary)
    verdicts          what stops a lane until a person does something (a circuit breaker)
    calls_out       the slots, and which calls are late, by
    lateness          how long calls take that are answered (stragglers)
    books, waiting  what calls cost, set aside and booked; where flights wait, and for how long
    surroundings    what a lane's decisions know of its gateway
    single_flight   equal requests find each other
    call_record     one record a request, for who wants to be told
    flight          one request on its way, and its calls
    endpoints       which replica takes a request, and which are at rest
    patience        how long nothing may succeed
"""
