import pyarrow as pa

from cxr_ray.browsing.thumbnail_choice import choose_rows, said_choice

TABLE = pa.table({"status": ["ok", "error", "ok", "ok", "ok"], "confidence": [0.9, None, 0.3, 0.8, 0.5]})


def test_all_readable_rows_are_chosen_where_they_fit():
    assert choose_rows(TABLE, 4, "random", 0).tolist() == [0, 2, 3, 4]


def test_the_least_sure_rows_are_chosen():
    assert choose_rows(TABLE, 2, "uncertain", 0).tolist() == [2, 4]


def test_masks_without_predictions_are_chosen_by_their_uncertainty():
    masks = pa.table({"status": ["ok", "ok", "empty"], "uncertainty": [0.1, 0.4, None]})
    assert choose_rows(masks, 1, "uncertain", 0).tolist() == [1]


def test_a_draw_depends_on_the_seed_alone():
    table = pa.table({"status": ["ok"] * 1000})
    first = choose_rows(table, 10, "random", 1).tolist()
    assert first == choose_rows(table, 10, "random", 1).tolist()
    assert first != choose_rows(table, 10, "random", 2).tolist()
    assert choose_rows(table, 0, "random", 1).tolist() == []


def test_the_choice_is_said():
    assert said_choice(0, 4, "random", 0) == "none was made"
    assert said_choice(4, 4, "random", 0) == "every image that could be read"
    assert said_choice(2, 4, "random", 7) == "2 of 4 images that could be read, drawn at random with seed 7"
    assert said_choice(2, 4, "uncertain", 7).endswith("those of which the model is least sure")
