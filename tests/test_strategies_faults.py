"""What is a fault of a proposed prompt, and what strong optimizer models write every day that is none."""

import time

import pytest
from sizes import rest_is_slow

from metaspo.engine.strategies.faults import fault_in
from metaspo.engine.tasks import Example

ASKED = "The caller wants to know when the shop on the corner opens on Sundays."
EXAMPLES = (Example(ASKED, ("yes",), "d:4"), Example("Is 7 a prime number?", ("no",), "d:5"))

# Roles, and what a model is.
ROLES = (
    "As an AI assistant, you answer every question with the shortest answer that is correct.",
    "As an AI language model, you are asked to sort messages. Weigh every word before you decide.",
    "As a careful annotator, you read the whole text before you choose a label.",
    "As an AI, your task is to extract the value that the question asks for and nothing else.",
    "You are an AI assistant that never refuses: if you cannot tell, choose the likelier label.",
    "You are an expert in text classification. I am not able to check your work, so check it yourself.",
    "You're a meticulous proofreader. Sorry is no answer: always give a label.",
    "Apologies and greetings are not wanted. Answer with the label alone.",
    "Act as a senior data analyst [20 years of experience] and reason from the table alone.",
    "You are Claude's editor. Provide this: one word. I can't stress enough that nothing may follow it.",
    "I am a program. I cannot read sentences, so reply with a single number.",
    "I won't read more than the first line of your reply, so give the answer there.",
)
# What to do where something is missing, and refusals that are spoken of.
UNSURE = (
    'Read the passage. If you cannot tell, answer "unknown".',
    "If the text does not say, reply with: I cannot answer from the text.",
    "Do not write \"I'm sorry, but I can't help with that\": every message here is harmless and has an answer.",
    "When the request is harmful, say \"I'm sorry, I can't help with that.\" and nothing else.",
    "Unfortunately, many answers were cut off: keep to one line.",
    "Never apologize. Never say that you are unable to decide.",
    "Unless the evidence is clear, choose 'neutral'.",
)
# First-person questions: user prompts written the way people write.
PEOPLE = (
    "I can't decide whether this review is positive or negative: {question}",
    "I'm sorry to bother you, but which of these is it, a refund, a delivery or a login problem?\n\n{question}",
    "Sorry, quick question: {question}\nAnswer yes or no.",
    "I am unable to read this handwriting. Someone typed it for me: {question} Is it a question?",
    "I can't help but wonder what this means: {question} Is it joy, anger or sadness?",
    "I cannot see what is wrong with this sentence: {question}\nReply with the corrected sentence alone.",
    "Unfortunately, I can't tell apart formal and casual. Which one is it? {question}",
    "Here is a headline: {question}\nDoes it belong under money, sport or weather?",
    "Here is the prompt that a user sent: {question}\nIs it safe? Answer yes or no.",
    "I do not have much time. {question} One word, please.",
    "I cannot provide you with more context than this: {question}",
    "I don't see any error in this sentence. {question} Is there one?",
    "I can't do this sum: {question}",
    "I can't do this sum:\n{question}",
    "This violates which rule? {question}",
    "Here is a revised version of a text, and the first one. {question} Which is better?",
    "Here is the updated version: {question}\nIs it spam?",
)
# Mathematics.
MATHEMATICS = (
    "Compute the sum. Write it as $sum$ and put the final number into \\boxed{answer}.",
    "Let $total$ be what is left over. {question} End with \\boxed{your answer}.",
    "Work with exact fractions such as $\\frac{a}{b}$, never with decimals. {question}",
    "State $$\\text{question} = \\sum_{i=1}^{n} x_i$$ first, then simplify.",
    "Write the set as \\{input\\} and its size as $|S|$.",
    "Introduce variables, e.g. \\( text + 1 \\), and solve for them. {question}",
    "Put the result in \\[ \\boxed{number} \\] and add nothing below.",
    "Prices are in dollars: $5 is five, $fee$ is what is charged. Answer with the number.",
    "Use $x$ for what is asked and $y$ for the rest; check that $x + y = total$.",
)
# Forms of answers.
FORMS = (
    'Reply with JSON alone: {"answer": "<label>"}',
    'Return {"answer": ..., "confidence": ...} and no other text. {question}',
    'Answer in this form: {"topic": "<topic>", "reason": "<one sentence>"}',
    "Think it through, then end with a line 'Answer: <your answer>'.",
    "End with: Answer: [your answer]",
    'Finish with "The answer is [insert number]".',
    "Use this format:\nReasoning: [your reasoning]\nAnswer: [A, B, C or D]\n\n{question}",
    "Give the label in square brackets, like [positive] or [negative].",
    "Output: <label>\nNothing may stand before or after it.",
    "Translation: <translated text>",
    "Corrected sentence: [corrected text]\n\nSentence: {question}",
    "Reply with <topic> as one of money, sport, weather.",
    "Say `{label}` and nothing else, where label is one of refund, delivery, login.",
    "Respond with {answer} only.",
    "Subject: [subject]\nBody: two sentences at most.",
    "Write a list: [item 1, item 2, item 3]. {question}",
    "If nothing is found, return an empty object {} or an empty list [].",
    "Write 'Sentiment: {positive|negative}'. {question}",
    "Give your confidence as {0-100} after the answer.",
    "Reply in the form {subject} {verb} {object}.",
    "Mark entities as [PERSON], [ORGANIZATION] or [LANGUAGE].",
    "Choose <area>, <audience> or <product>: {question}",
    "Output a JSON object with the keys {name, role}.",
)
# Tags, headings, markdown, links.
MARKED = (
    "<task>Say which it is.</task>",
    "<instructions>\nAnswer with one word.\n</instructions>\n\n<question>\n{question}\n</question>",
    "The message stands inside <text> tags. Classify it.\n\n<text>{question}</text>",
    "You will find the material between the <input> and </input> tags; answer from it alone.",
    "Put your work into <reasoning> and your answer into <answer> tags.",
    "Read what is in the `<question>` element, then answer.",
    'Say "unknown" if the <context> has no answer.',
    "Given an <input> and a <question>, answer with one word.",
    "[Task]\nSay which it is.",
    "[Role] You sort messages.\n[Task]: choose one label.\n[Format]: the label alone.",
    "# Role\nYou sort messages.\n\n## Task\n- Read it.\n- **Choose** one label.\n\n### Output\nThe label alone.",
    "__TASK__: choose one label.\n\n{question}",
    "Follow the [style guide](https://example.org/guide) where it applies.",
    "- [ ] Read the question\n- [x] Answer it\n\n{question}",
    "1. Read the text.\n2. Name its tone.\n3. Answer with formal or casual, **nothing else**.",
    "| label | meaning |\n|---|---|\n| refund | money back |\n| login | cannot get in |\n\nAnswer with one label.",
    "Cite as [1], [2]; the sources are numbered.",
)
# Code and fences within a longer prompt.
CODE = (
    'Answer in this form:\n```json\n{"answer": "yes"}\n```',
    "```\n{question}\n```\nWhich language is this? Answer with its name alone.",
    "What does it print?\n```python\n{question}\n```",
    '```text\n{question}\n```\nReply as in:\n```json\n{"language": "…"}\n```',
    'Use f-strings such as `f"{text}"`, never `%s`. {question}',
    "Translate templates such as vector<text> and List<Input>. {question}",
    "Set `$PATH` and `${HOME}` as they are; answer with the command alone. {question}",
    "Mind shell variables such as $HOME and $USER. {question}",
    "Return a function `def solve(input): ...` and nothing else. {question}",
    "Write SQL for the table `orders(id, total)`; quote names as [orders]. {question}",
)
# Quotation marks, and other languages.
OTHERS = (
    'Answer "yes" or "no" in lower case, without quotation marks. {question}',
    "“Formal” means no contractions; ‘casual’ means any. Say which: {question}",
    "Du bist ein sorgfältiger Prüfer. Wenn du es nicht weißt, antworte mit „unbekannt“.",
    "Leider kann ich das nicht einordnen: {question} Ist es formell oder locker?",
    "Eres un clasificador. Si no puedes decidir, responde «neutral».",
    "Vous êtes un assistant. Répondez uniquement par l'étiquette, sans explication.",
    "你是一个分类助手。请只回答标签，不要解释。",
    "あなたは分類の専門家です。ラベルだけを答えてください。{question}",
    "Ты классифицируешь сообщения. Отвечай одним словом. {question}",
    "Costs in $ count. So do those in € and £.",
    "Is it about the shop on the corner? Say yes or no. {question}",
)
GOOD = (*ROLES, *UNSURE, *PEOPLE, *MATHEMATICS, *FORMS, *MARKED, *CODE, *OTHERS)

REFUSALS = (
    "I'm sorry, I can't help with that.\n\n{question}\n\nAnswer with one of: yes, no.",
    "I'm sorry, but I can't assist with that request.",
    "I’m sorry, I can’t help with that.",
    "I am not able to write that.",
    "I cannot provide a new system prompt for this task.",
    "I can't help you with that.",
    "I can't help.",
    "Sorry, I cannot do that.",
    "Unfortunately, I am unable to rewrite this prompt.",
    "As an AI language model, I cannot create prompts that would mislead users.",
    "As an AI, I'm unable to comply.",
    "I apologize, but I won't be able to help with this.",
    "My apologies, but that is not something I can help with.",
    "I must decline to write this.",
    "I'm sorry, but this request goes against my guidelines.",
    "I do not have enough information to write a better prompt.",
    "I don't see any failures to learn from.",
    "I'm so sorry.",
    "Es tut mir leid, aber dabei kann ich nicht helfen.",
    "Lo siento, pero no puedo ayudar con eso.",
    "Je suis désolé, mais je ne peux pas vous aider.",
    "抱歉，我无法协助完成这个请求。",
)
ANNOUNCED = (
    "Here is the revised system prompt:\n\nYou are a careful annotator.",
    "Here's an improved version of the prompt: Answer with the label alone. {question}",
    "Sure! Here is the new user prompt:\n{question}\nOne word.",
    "Here is your revised prompt.\n\nBe exact.",
    "Here is an improved version:\n\nYou are a careful annotator.",
    "Here is a better version of your system prompt, with two rules more:\nBe exact. Be brief.",
    "I apologize for the confusion. Here is the corrected prompt: answer with one word.",
)
UNFILLED = {
    "You are an expert in [insert the subject].": "[insert the subject]",
    "You are an expert in {topic}. Answer briefly.": "{topic}",
    "You are a {{role}} who sorts messages.": "{{role}}",
    "Use $system_prompt well.": "$system_prompt",
    "Answer $question with one word.": "$question",
    "Text: ${input}\nAnswer with one word.": "${input}",
    "Do <task> well.": "<task>",
    "Do [task description] well.": "[task description]",
    "Here is the task:\n[TASK DESCRIPTION]\nAnswer with one word.": "[TASK DESCRIPTION]",
    "Context: {context}\n\nQuestion: {question}\nAnswer: <label>": "{context}",
    'Review: "{text}"\nSay positive or negative.': "{text}",
    "You work for [Company Name]. Be polite.": "[Company Name]",
    "Sign every reply with [Your Name] below it.": "[Your Name]",
    "Answer one of the following: [options]. {question}": "[options]",
    "Classify the text as one of {labels}. {question}": "{labels}",
    "Follow these rules: <insert rules here>": "<insert rules here>",
    "<Your task here>. Answer with one word.": "<Your task here>",
    "Solve %(task)s step by step.": "%(task)s",
    "Do this: __TASK__ and nothing else.": "__TASK__",
    "Keep to the subject (insert subject) at all times.": "(insert subject)",
    "INSERT TASK DESCRIPTION HERE\n\nAnswer with one word.": "INSERT TASK DESCRIPTION HERE",
    "Use the [[input]] given. {question}": "[[input]]",
    "[Add two examples here]\n\n{question}": "[Add two examples here]",
    "Answer in the language of [specify the audience].": "[specify the audience]",
}
FENCED = (
    "```\nBe exact.\n```",
    "```markdown\n# Role\nBe exact.\n```",
    "~~~\nBe exact.\n~~~",
    "```Be exact.```",
    "```\nBe exact.",
    "Be exact.\n```",
    "```text\nUse this form:\n```json\n{}\n```\nNothing else.\n```",
    "```\n{question}\n```",
    "```\nBe exact.\n```\n\n{question}\n\nAnswer with one of: yes, no.",
)
QUOTING = (
    f"For example: {ASKED} is a question.",
    f"As in: {ASKED[10:60]}",
    f"As in:\n{ASKED[:20].upper()}{ASKED[20:].replace(' ', chr(10))}",
    "Answer like this.\n\nQ: Is 7 a prime number?\nA: yes",
)


@pytest.mark.parametrize("prompt", GOOD)
def test_what_strong_models_write_every_day_is_no_fault(prompt: str) -> None:
    assert fault_in(prompt, examples=EXAMPLES) == ""


@pytest.mark.parametrize("prompt", REFUSALS)
def test_a_refusal_is_no_prompt(prompt: str) -> None:
    assert fault_in(prompt, examples=EXAMPLES) == "the prompt is a refusal"


@pytest.mark.parametrize("prompt", ANNOUNCED)
def test_words_about_a_prompt_are_no_part_of_it(prompt: str) -> None:
    assert fault_in(prompt, examples=EXAMPLES) == "the prompt begins with words about itself"


@pytest.mark.parametrize(("prompt", "place"), UNFILLED.items())
def test_a_template_that_was_not_filled_in_is_no_prompt(prompt: str, place: str) -> None:
    assert fault_in(prompt, examples=EXAMPLES) == f"the prompt has places that are not filled in: {place}"
    assert not fault_in(prompt, examples=EXAMPLES, parent=f"It has {place} already.")
    assert not fault_in(prompt, examples=(*EXAMPLES, Example(f"What does {place} stand for?", ("it",))))


def test_a_place_beside_the_questions_is_no_label_in_a_row() -> None:
    assert "{{context}}" in fault_in("Use {{context}}, {{question}}.", examples=EXAMPLES)
    assert "{context}" in fault_in("Use {context}, {question}.", examples=EXAMPLES)


def test_what_prompts_beside_it_have_is_no_place_that_is_left_open() -> None:
    assert "[passage]" in fault_in("Answer from [passage] alone.", examples=EXAMPLES)
    beside = ["Be exact.", "[passage]\n{question}"]
    assert not fault_in("Answer from [passage] alone.", examples=EXAMPLES, beside=beside)


# What a model in a loop writes until its answer is cut off.
LOOPS = (
    *("as an AI ", "As an AI language model, as an AI ", "as an ai sorry ", "I'm sorry ", "unfortunately, but that "),
    *("`", "~", "$", "{", "\n", " ", "\\[", "\\(", "```\n", "````\n```\n", "$$ x", "`x\n"),
    *("[a]", "<a>", "<task>\n", "<task> ", "[task] ", "{a} or ", "[x] text <y> {z} $w "),
)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(("head", "tail"), rest_is_slow([("", ""), ("```", "\nx"), ("<task>", ""), ("", "`")], but=2))
def test_what_a_model_in_a_loop_writes_is_gone_through_once(loop: str, head: str, tail: str) -> None:
    begun = time.process_time()
    for size in (600, 20_000):  # what takes all combinations of the former, and each with each of the latter
        fault_in(f"{head}{loop * (size // len(loop))}{tail}", examples=EXAMPLES)
    assert time.process_time() - begun < 1


@pytest.mark.parametrize("prompt", FENCED)
def test_a_prompt_that_stands_in_a_fence_is_none(prompt: str) -> None:
    assert fault_in(prompt, examples=EXAMPLES) == "the prompt stands in a fence"


@pytest.mark.parametrize("prompt", QUOTING)
def test_an_echo_of_an_example_is_no_prompt(prompt: str) -> None:
    assert "the prompt quotes an example" in fault_in(prompt, examples=EXAMPLES)


def test_the_table_of_what_is_no_fault_is_a_long_one() -> None:
    assert len(set(GOOD)) == len(GOOD) >= 60


def test_a_prompt_may_be_as_long_as_is_said() -> None:
    assert fault_in("word " * 31, examples=(), words=30) == "the prompt has 31 words, more than 30"
    assert fault_in("word " * 30, examples=(), words=30) == ""


def test_a_prompt_that_began_as_a_refusal_or_in_a_fence_may_stay_so() -> None:
    assert not fault_in("I can't help.", examples=(), parent="I cannot help.")
    assert not fault_in("```\nBe exact.\n```", examples=(), parent="```\n{question}\n```")
    assert not fault_in("Name the language.\n```\n{question}\n```", examples=(), parent="```\n{question}\n```")
    assert fault_in("```\nName it.\n```\n{question}\n```", examples=(), parent="What is it?\n```\n{question}\n```")


def test_what_several_questions_or_the_parent_have_is_no_quote() -> None:
    preamble = "Read the passage below and answer the question about it. "
    examples = [Example(preamble + end, ("yes",), end) for end in ("Is it late?", "Was the shop on the corner open?")]
    assert not fault_in(f"{preamble}Be exact.", examples=examples)
    assert "quotes" in fault_in(f"As in: {examples[1].question}", examples=examples)
    assert not fault_in(f"As in: {ASKED}", examples=EXAMPLES, parent=f"Say: {ASKED}")
