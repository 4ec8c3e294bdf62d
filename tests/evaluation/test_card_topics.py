from collections import Counter
from itertools import pairwise

from cxr_ray.evaluation.card_topics import CLAIM_ITEMS, TOPICS, TRIPOD_ITEMS


def test_every_item_of_both_lists_is_answered_by_one_topic():
    assert Counter(item for topic in TOPICS for item in topic.claim) == Counter(CLAIM_ITEMS)
    assert Counter(item for topic in TOPICS for item in topic.tripod) == Counter(TRIPOD_ITEMS)
    assert len(CLAIM_ITEMS) == 44
    assert len({item.rstrip("abcdefg") for item in TRIPOD_ITEMS}) == 27


def test_a_topic_has_one_name_and_a_section_stands_together():
    assert len({topic.name for topic in TOPICS}) == len(TOPICS)
    sections = [topic.section for topic in TOPICS]
    changes = sum(one != other for one, other in pairwise(sections))
    assert changes == len(set(sections)) - 1
