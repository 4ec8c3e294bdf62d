from cxr_ray.evaluation.card_training import training_answers
from cxr_ray.evaluation.model_facts import ModelFacts

CARD = {"source": {}, "metrics": {"epoch": 7}}
OPTIONS = {
    "epochs": 10,
    "batch_size": 12,
    "learning_rate": 0.002,
    "weights_uri": None,
    "pretrained": False,
    "best_by": "accuracy",
    "class_balance": "none",
    "flip": 0.5,
    "rotate": 0.0,
}


def test_a_recorded_training_is_told():
    answers = training_answers(ModelFacts(cards=(CARD,), training={"config": OPTIONS}))
    assert answers == {
        "start": "From random weights.",
        "training": "epochs 10, batch size 12, learning rate 0.002; random changes of the images: flip 0.5.",
        "selection": "The epoch of the best accuracy on the val split. It is that of epoch 7.",
        "imbalance": "Nothing was done.",
    }


def test_what_no_record_says_is_none():
    assert set(training_answers(ModelFacts(cards=(CARD,))).values()) == {None}


def test_imported_and_given_weights_are_named():
    imported = CARD | {"source": {"uri": "w.pth"}}
    assert training_answers(ModelFacts(cards=(imported,)))["start"] == "Imported: w.pth."
    given = ModelFacts(training={"config": OPTIONS | {"weights_uri": "v.pth", "class_balance": "sampling"}})
    assert training_answers(given)["start"] == "From the weights v.pth."
    assert training_answers(given)["imbalance"] == "Classes were balanced by sampling."
