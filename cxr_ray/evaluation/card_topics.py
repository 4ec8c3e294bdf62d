"""Topics of a model card, and the items of CLAIM 2024 and TRIPOD+AI that each of them answers.

Sources: Tejani et al., Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update, Radiology: Artificial
Intelligence 6(4), doi 10.1148/ryai.240300; Collins et al., TRIPOD+AI statement, BMJ 2024;385:e078378. The titles and
hints are this project's own words; the lists themselves say what an item asks for.
"""

from dataclasses import dataclass

CLAIM_ITEMS = tuple(range(1, 45))
_TRIPOD = """
1 2 3a 3b 3c 4 5a 5b 6a 6b 6c 7 8a 8b 8c 9a 9b 9c 10 11 12a 12b 12c 12d 12e 12f 12g 13 14 15 16 17
18a 18b 18c 18d 18e 18f 19 20a 20b 20c 21 22 23a 23b 24 25 26 27a 27b 27c
"""
TRIPOD_ITEMS = tuple(_TRIPOD.split())


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic of the card."""

    name: str
    """Key of the topic, once in the card."""
    section: str
    title: str
    claim: tuple[int, ...]
    """Items of CLAIM 2024 that the topic answers."""
    tripod: tuple[str, ...]
    """Items of TRIPOD+AI that the topic answers."""
    to_add: str
    """What the authors must add where no file says it."""


def _topic(name: str, section: str, title: str, items: tuple[str, str], to_add: str) -> Topic:
    claim, tripod = items
    return Topic(name, section, title, tuple(map(int, claim.split())), tuple(tripod.split()), to_add)


PURPOSE, DATA, REFERENCE = "Purpose", "Data", "Reference standard"
MODEL, TRAINING, EVALUATION = "Model", "Training", "Evaluation"
RESULTS, MEANING, OTHER = "Results", "Meaning", "Other information"

TOPICS = (
    _topic("kind", PURPOSE, "Kind of study", ("1", "1"), "the technique, the patients and what is predicted"),
    _topic("summary", PURPOSE, "Summary", ("2", "2"), "a structured summary"),
    _topic(
        "background", PURPOSE, "Clinical background", ("3", "3a"), "the clinical question, and what models there are"
    ),
    _topic(
        "use", PURPOSE, "Intended use, users and patients", ("41", "3b"), "for whom, where in care, and who acts on it"
    ),
    _topic("inequalities", PURPOSE, "Known inequalities between groups", ("", "3c"), "groups that are served worse"),
    _topic("hypothesis", PURPOSE, "Aims and hypotheses", ("4", ""), "what the study wants to show"),
    _topic("goal", PURPOSE, "Development or evaluation", ("6", "4"), "whether a model is developed, evaluated or both"),
    _topic("design", PURPOSE, "Prospective or retrospective", ("5", ""), "when data were collected, and for what"),
    _topic("source", DATA, "Source of the images", ("7", "5a"), "where the images come from"),
    _topic("dates", DATA, "Dates of acquisition", ("", "5b"), "first and last date of the examinations"),
    _topic("setting", DATA, "Setting and centres", ("", "6a"), "hospitals, countries, and kind of care"),
    _topic("eligibility", DATA, "Who was included and excluded", ("8", "6b"), "criteria of inclusion and exclusion"),
    _topic("treatments", DATA, "Treatments before imaging", ("", "6c"), "treatments that change the images"),
    _topic("acquisition", DATA, "Acquisition of the images", ("13", ""), "devices, views and exposure"),
    _topic("preprocessing", DATA, "Preparation of the pixels", ("9", "7 12b"), "how pixels reach the model"),
    _topic("predictors", DATA, "Inputs of the model", ("", "9a 9b 9c"), "what the model sees"),
    _topic("subset", DATA, "Choice of these images", ("10", ""), "how the evaluated images were chosen"),
    _topic("deidentification", DATA, "De-identification", ("11", ""), "how names and dates were removed"),
    _topic("missing", DATA, "Missing and unreadable images", ("12", "11"), "how missing data were handled"),
    _topic("partitions", DATA, "Splits", ("19", "12a"), "how images were assigned to train, val and test"),
    _topic(
        "disjoint", DATA, "What the splits do not share", ("20", ""), "whether patients or copies are shared by splits"
    ),
    _topic("size", DATA, "Number of images", ("21", "10"), "how the number of images was chosen"),
    _topic("reference", REFERENCE, "What the labels mean", ("14 15", "8a"), "how a label was decided, and why so"),
    _topic(
        "annotators", REFERENCE, "Who labelled, and blinded to what", ("16 17", "8b 8c"), "readers and their experience"
    ),
    _topic("agreement", REFERENCE, "Agreement of readers", ("18", ""), "agreement between and within readers"),
    _topic("network", MODEL, "Network", ("22", "22"), "the architecture and its weights"),
    _topic("software", MODEL, "Software", ("23", ""), "programs and their versions"),
    _topic("output", MODEL, "Output and thresholds", ("", "15"), "what the model returns, and from which threshold on"),
    _topic("ensemble", MODEL, "Ensemble", ("27", ""), "whether several models decide together"),
    _topic("calculation", MODEL, "How the predictions were made", ("", "12g"), "device, program and precision"),
    _topic("start", TRAINING, "Starting weights", ("24", ""), "from which weights the training began"),
    _topic("training", TRAINING, "Training", ("25", "12c"), "options of the training"),
    _topic("selection", TRAINING, "Choice of the final model", ("26", ""), "by which figure the model was chosen"),
    _topic("imbalance", TRAINING, "Imbalance of classes", ("", "13"), "what was done about rare classes"),
    _topic("metrics", EVALUATION, "Figures", ("28", "12e"), "which figures were computed"),
    _topic("uncertainty", EVALUATION, "Uncertainty of the figures", ("29", ""), "how intervals were computed"),
    _topic("robustness", EVALUATION, "Robustness", ("30", ""), "an audit (--audit-uri)"),
    _topic("explanation", EVALUATION, "Where the model looks", ("31", ""), "an audit (--audit-uri)"),
    _topic(
        "internal", EVALUATION, "Internal evaluation", ("32", ""), "an evaluation on the test split of its own dataset"
    ),
    _topic("external", EVALUATION, "External evaluation", ("33", "16"), "an evaluation on another hospital's images"),
    _topic(
        "clusters",
        EVALUATION,
        "Differences between hospitals",
        ("", "12d 23b"),
        "figures of each hospital (--subgroups)",
    ),
    _topic("fairness", EVALUATION, "Fairness", ("", "14"), "figures by sex, age and other groups (--subgroups)"),
    _topic(
        "updating", EVALUATION, "Updating of the model", ("", "12f 24"), "whether the model was adapted to these images"
    ),
    _topic("included", RESULTS, "Images and patients", ("35", "20a 21"), "numbers of included and excluded images"),
    _topic(
        "demographics", RESULTS, "Patients of each split", ("36", "20b 20c"), "age, sex and findings of the patients"
    ),
    _topic("performance", RESULTS, "Performance", ("37 38", "23a"), "figures with intervals"),
    _topic("failures", RESULTS, "Analysis of mistakes", ("39", ""), "which images go wrong, and why"),
    _topic("limitations", MEANING, "Limits", ("40", "26"), "what weakens the figures"),
    _topic(
        "interpretation", MEANING, "Meaning for practice", ("", "25"), "what follows from the figures, and for whom"
    ),
    _topic("poor_input", MEANING, "Images that cannot be used", ("", "27a"), "what happens with a bad image"),
    _topic(
        "expertise", MEANING, "What users must know", ("", "27b"), "how users interact with it, and what they must know"
    ),
    _topic("next_steps", MEANING, "Next steps", ("", "27c"), "what must be studied next"),
    _topic(
        "protocol", OTHER, "Protocol and registration", ("34 42", "18c 18d"), "protocol and number of the registration"
    ),
    _topic("availability", OTHER, "Software, weights and data", ("43", "18e 18f"), "where they can be had"),
    _topic("ethics", OTHER, "Ethical approval", ("", "17"), "the committee and its decision"),
    _topic("public", OTHER, "Patients and public", ("", "19"), "how they took part"),
    _topic("funding", OTHER, "Funding and interests", ("44", "18a 18b"), "who paid, and conflicts of interest"),
)
