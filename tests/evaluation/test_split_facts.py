from cxr_ray.evaluation.split_facts import split_facts


def row(name, split, patient=None, group=None):
    return {"image_id": name, "uri": name, "split": split, "patient_id": patient, "duplicate_group": group}


def test_what_two_splits_share_is_counted(dataset_table):
    rows = [
        row("a", "train", "p1", "g1"),
        row("b", "train", "p1", "g1"),
        row("c", "test", "p1"),
        row("d", "test", "p2", "g1"),
        row("e", "val", "p3", "g2"),
        row("f", "val", None, "g2"),
    ]
    assert split_facts(dataset_table(rows)) == {
        "images": {"train": 2, "val": 2, "test": 2},
        "patients_shared": 1,
        "copies_shared": 1,
        "without_patient": 1,
    }


def test_an_image_of_no_split_and_no_patient_shares_nothing(dataset_table):
    facts = split_facts(dataset_table([row("a", None), row("b", "test")]))
    assert facts == {"images": {"test": 1}, "patients_shared": 0, "copies_shared": 0, "without_patient": 2}
