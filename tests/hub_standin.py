"""A stand-in for the library `datasets`: small tables of our own in the layout that the domains' datasets have.

`RIGHT` says what must come out: each row's question without options, and its accepted answers; with options, the text
of the right one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Row = Mapping[str, Any]
Right = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class ClassLabel:
    """As the library's: the table holds numbers, these are their names."""

    names: list[str]


@dataclass(frozen=True)
class Table:
    """Rows with the classes of their columns."""

    rows: Sequence[Row]
    features: Mapping[str, ClassLabel] = field(default_factory=dict)

    def with_format(self, name: str) -> "Table":
        """Only Arrow's is asked for."""
        assert name == "arrow"
        return self

    def iter(self, batch_size: int) -> "Iterator[Table]":
        """The rows in batches, each of them a table."""
        for start in range(0, len(self.rows), batch_size):
            yield Table(self.rows[start : start + batch_size])

    def to_pylist(self) -> list[Row]:
        """The rows."""
        return list(self.rows)


SUBJECTS = (
    "Gynaecology & Obstetrics",
    "Medicine",
    "Pharmacology",
    "Pathology",
    "Dental",
    "Anatomy",
    "Surgery",
    "Pediatrics",
    "Unused",
)
LETTERS = ["a", "b", "c", "d"]


def exam_rows(subject: str) -> list[Row]:
    """Eight questions of a subject, the right option in every place."""
    return [
        {
            "question": f"{subject} question {number}?",
            **{f"op{letter}": f"{letter} of {number}" for letter in LETTERS},
            "cop": number % 4,
            "subject_name": subject,
        }
        for number in range(8)
    ]


def puzzle(text: str, options: Sequence[str], right: Sequence[str]) -> Row:
    """A row as BIG-bench writes it: prefixes, options below each other, all right answers."""
    listed = "".join(f"\n  choice: {option}" for option in options)
    return {
        "inputs": f"Q: {text}{listed}\nA:",
        "targets": list(right),
        "multiple_choice_targets": list(options),
        "multiple_choice_scores": [int(option in right) for option in options],
    }


def spread(texts: Sequence[str], options: Sequence[str]) -> list[Row]:
    """Puzzles whose right option is always the first, as in some of the sources."""
    return [puzzle(text, options, options[:1]) for text in texts]


SWAPS = ["Ann and Bo swap once.\nAnn has", "Ann and Bo swap twice.\nAnn has", "Nobody swaps.\nAnn has", "Bo has"]
HOUSES = ["1", "2", "3", "4", "5"]

TABLES: dict[str, Table] = {
    "openlifescienceai/medmcqa": Table(
        [row for subject in SUBJECTS for row in exam_rows(subject)], {"cop": ClassLabel(LETTERS)}
    ),
    "McAuley-Lab/Amazon-Reviews-2023": Table(
        [
            {"rating": float(stars), "title": f"Title {stars}", "text": f"Text of {stars} stars", "images": []}
            for stars in range(1, 6)
        ]
    ),
    "logic_grid_puzzle": Table([puzzle(f"House of clue {n}?", HOUSES, [str(n)]) for n in range(1, 6)]),
    "tracking_shuffled_objects": Table(spread(SWAPS, ["the ball", "the cup", "the key"])),
    "logical_deduction": Table(spread(SWAPS, ["First.", "Second.", "Third."])),
    "temporal_sequences": Table(spread(SWAPS, ["1pm to 2pm", "2pm to 3pm", "3pm to 4pm", "4pm to 5pm"])),
    "object_counting": Table([puzzle(f"Count {n}.", [], [word, str(n)]) for n, word in ((3, "three"), (7, "seven"))]),
    "reasoning_about_colored_objects": Table(
        [puzzle("Which color?", ["red", "teal"], ["teal"]), puzzle("How many?", ["2", "3"], ["3"])]
    ),
    "epistemic_reasoning": Table(
        [puzzle(f"Premise: {x}", ["entailment", "non-entailment"], [x]) for x in ("entailment", "non-entailment")]
    ),
    "ucsbnlp/liar": Table(
        [
            {
                "label": number,
                "statement": f"Statement {number}",
                "job_title": "",
                "state_info": "Ohio",
                "party_affiliation": "none",
                "context": "a speech",
            }
            for number in range(6)
        ],
        {"label": ClassLabel(["false", "half-true", "mostly-true", "true", "barely-true", "pants-fire"])},
    ),
    "Paul/hatecheck": Table(
        [
            {"test_case": f"Text {n}", "label_gold": "hateful" if n % 2 else "non-hateful", "templ_id": n // 2}
            for n in range(12)
        ]
    ),
    "cardiffnlp/tweet_eval": Table(
        [{"text": "Kind words", "label": 0}, {"text": "Rude words", "label": 1}],
        {"label": ClassLabel(["non-offensive", "offensive"])},
    ),
    "raquiba/Sarcasm_News_Headline": Table(
        [{"headline": "rain expected", "is_sarcastic": 0}, {"headline": "area man still wet", "is_sarcastic": 1}]
    ),
    "iamollas/ethos": Table(
        [{"text": f"Comment {n}", "label": n % 2} for n in range(10)],
        {"label": ClassLabel(["no_hate_speech", "hate_speech"])},
    ),
    "Anthropic/hh-rlhf": Table(
        [
            {"chosen": f"\n\nHuman: {n}\n\nAssistant: No.", "rejected": f"\n\nHuman: {n}\n\nAssistant: Sure."}
            for n in range(24)
        ]
    ),
    "rajpurkar/squad": Table(
        [{"context": "Ann left in 1620.", "question": "When?", "answers": {"text": ["1620", "in 1620"]}}]
    ),
    "hotpotqa/hotpot_qa": Table(
        [
            {
                "context": {"title": ["Ann", "Bo"], "sentences": [["Ann is tall.", " She rows."], ["Bo sings."]]},
                "question": "Who sings?",
                "answer": "Bo",
            }
        ]
    ),
    "lucadiliello/triviaqa": Table(
        [{"context": "[DOC] [TLE] Rivers [PAR] The Po is long.", "question": "Which?", "answers": ["Po", "the Po"]}]
    ),
    "ucinlp/drop": Table(
        [{"passage": "Two goals, then one.", "question": "How many?", "answers_spans": {"spans": ["3"]}}]
    ),
    "lucadiliello/naturalquestionsshortqa": Table(
        [{"context": "Pearls come from seas.", "question": "where from", "answers": ["seas"]}]
    ),
    "stanfordnlp/web_questions": Table([{"question": "what do the swiss speak?", "answers": ["German", "French"]}]),
}


def _letters_in(rows: Sequence[Row]) -> Right:
    """Of every exam question the text of the right option."""
    return {row["question"]: (row[f"op{LETTERS[row['cop']]}"],) for row in rows}


def _first_options(table: Table) -> Right:
    return dict.fromkeys(SWAPS, (table.rows[0]["targets"][0],))


RIGHT: dict[str, Right] = {
    "medical": {},  # by subject: see `right_of`
    "review": {f"title: Title {n}\ntext: Text of {n} stars": (str(n),) for n in range(1, 6)},
    "logic_grid_puzzle": {f"House of clue {n}?": (str(n),) for n in range(1, 6)},
    "tracking_shuffled_objects": _first_options(TABLES["tracking_shuffled_objects"]),
    "logical_deduction": _first_options(TABLES["logical_deduction"]),
    "temporal_sequences": _first_options(TABLES["temporal_sequences"]),
    "object_counting": {"Count 3.": ("3",), "Count 7.": ("7",)},
    "reasoning_colored_objects": {"Which color?": ("teal",), "How many?": ("3",)},
    "epistemic": {f"Premise: {x}": (x,) for x in ("entailment", "non-entailment")},
    "liar": {
        f"Statement: Statement {n}\nJob title: \nState: Ohio\nParty: none\nContext: a speech": (answer,)
        for n, answer in ((0, "yes"), (3, "no"))
    },
    "hatecheck": {f"Text {n}": ("yes" if n % 2 else "no",) for n in range(12)},
    "tweet_eval": {"Kind words": ("no",), "Rude words": ("yes",)},
    "sarcasm": {"rain expected": ("no",), "area man still wet": ("yes",)},
    "ethos": {f"Comment {n}": ("yes" if n % 2 else "no",) for n in range(10)},
    "squad": {"Context: Ann left in 1620.\nQuestion: When?": ("1620", "in 1620")},
    "hotpot_qa": {"Context: Ann: Ann is tall. She rows.\nBo: Bo sings.\nQuestion: Who sings?": ("Bo",)},
    "trivia_qa": {"Context: Rivers The Po is long.\nQuestion: Which?": ("Po", "the Po")},
    "drop": {"Context: Two goals, then one.\nQuestion: How many?": ("3",)},
    "natural_questions": {"Context: Pearls come from seas.\nQuestion: where from": ("seas",)},
    "web_qa": {"Question: what do the swiss speak?": ("German", "French")},
}


def right_of(task: str, domain: str, subject: str) -> Right:
    """What must come out of a task's table."""
    if domain == "medical":
        return _letters_in(exam_rows(subject))
    return RIGHT["review" if domain == "review" else task]


def table_for(path: str, config: str | None, files: str) -> Table:
    """The table that stands in for a dataset; those of several configurations go by the configuration."""
    repository = "/".join(files.removeprefix("hf://datasets/").partition("@")[0].split("/")[:2]) if files else path
    return TABLES[config if config in TABLES else repository]


def load_dataset(
    path: str, name: str | None = None, *, split: str, data_files: str = "", streaming: bool = False
) -> Table:
    """As the library's, for what the domains ask of it; anything else is a fault of theirs."""
    assert split in ("train", "validation", "test")
    assert (path in ("json", "parquet")) == bool(data_files)
    assert not streaming or path == "json"
    return table_for(path, name, data_files)
