"""The demo: short plain-text tasks written for metaspo, and the configs of the run over them.

The texts are our own, one line each, no two alike; every task has 24 or 36 train and 48 test examples with the labels
in equal shares. `demo.toml` is the run of `make demo`, `demo_config(small=True)` a small part of it. The label sets are
of different kinds and sizes, so no preferred label serves several tasks:

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

How they were chosen, so that the result can be judged. Texts were written before the model was asked; none was kept or
dropped for how the model answered it (four were replaced for being too like another). Everything else was chosen after
looking, test examples of later target tasks included, so the target texts are unseen by a run, not by its authors:

- Fourteen tasks were drafted. Two were left out: inside or outside stayed at 50 to 54 percent under most prompts, and
  an option letter out of three ranged from 8 to 50. Four others lost one label each (present, fear, health, tool), for
  the model hardly told four apart.
- The split is the third. The first, as drafted, and the second, a plain lot, gave the sources less to learn than the
  targets, and were given up. In this one, tasks were paired by how often the default's answers held no label, and each
  pair was split by lot. One pair was emotion and the option letter: when the latter was left out, emotion stayed a
  target. sentence_type was left over and became a target.
- The first user prompts are the second set. The first asked plain closed questions ("Is the review positive or
  negative?"), and the one run that was finished with it brought no gain on the targets: -2.9 points, 95% interval -7.1
  to 1.4 (seed 1, 12 train examples a task, 40 test examples of each target task, 8 candidates). These ask as people
  write in a chat. Many answers to them under "You are a helpful assistant." name no label within 12 tokens, where the
  demo then cut them off; today they have room, and have to be the label alone.

So what there is to learn is form: that a program reads the answer, which has to be the label and nothing else. A gain
here shows that this carries over to tasks that the run has not seen; it says nothing of how well the model judges.
"""

from metaspo.engine.demo.preset import DEMO_FOLDER, demo_config

__all__ = ["DEMO_FOLDER", "demo_config"]
