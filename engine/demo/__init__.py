"""The demo: short plain-text tasks written for metaspo, and the configs of the run over them.

The texts are our own, one line each, no two alike; every task has 24 or 36 train and 48 test examples with the labels
in equal shares. `demo.toml` is the run of `make demo`, `demo_config(small=True)` a tenth of it. The label sets are of
different kinds and sizes, so no preferred label serves several tasks:

    source  intent         what a customer writes about (refund, delivery, login)
            invitations    will they come (yes, no)
            register       style (formal, casual)
            riddles        what is described (animal, vehicle, food)
            units          which quantity is given (length, weight, time)
    target  count          how many people are mentioned (2 to 5, in figures or words)
            emotion        joy, anger, sadness
            facts          true, false
            news_topic     money, sport, weather
            reviews        positive, negative
            sentence_type  question, statement, command, without punctuation
            tense          past, future

How they were chosen, so that the result can be judged: fourteen tasks were drafted and asked with a handful of system
prompts. Two were left out, because no prompt moved the model off chance (inside or outside; an option letter out of
three). Of four others the rarer labels were dropped for the same reason, leaving two or three. No example was kept or
dropped for how the model answered it. The first user prompts name the answers, as a user's would, and say nothing
else about the form of the answer. Tasks were paired by how often the model's answers under "You are a helpful
assistant." held no label at all, and each pair was split by lot into one source and one target task (a task that was
left over became a target), so that what there is to learn on the one side is worth learning on the other. Not every
target gains: short answers help most tasks and cost accuracy on `emotion`.
"""

from metaspo.engine.demo.preset import DEMO_FOLDER, demo_config

__all__ = ["DEMO_FOLDER", "demo_config"]
