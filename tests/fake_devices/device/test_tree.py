"""Values over a shared template behave as if each device had its own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_devices.device.tree import ModelTemplate, ObjectTree
from lwm2m.objects import ObjectPath

PATHS = [ObjectPath(3, 0, number) for number in range(5)] + [ObjectPath(18830, 0, 1)]
SHARED = dict.fromkeys(PATHS[:4], 0)


def template():
    return ModelTemplate([ObjectPath(3, 0)], dict(SHARED), {})


steps = st.lists(st.tuples(st.sampled_from(PATHS), st.none() | st.integers(0, 3)), max_size=20)


@given(initial=st.dictionaries(st.sampled_from(PATHS), st.integers(0, 3)), steps=steps)
def test_a_tree_is_a_dictionary(initial, steps):
    shared = template()
    tree, expected = ObjectTree(shared, initial), dict(initial)
    for path, value in steps:
        if value is None:
            tree.remove([path])
            expected.pop(path, None)
        else:
            tree.apply({path: value})
            expected[path] = value
        assert dict(tree) == expected
        assert len(tree) == len(expected)
        assert {each: tree.get(each) for each in PATHS} == {
            each: expected.get(each) for each in PATHS
        }
        assert [each in tree for each in PATHS] == [each in expected for each in PATHS]
    assert shared.values == SHARED


@given(
    initial=st.dictionaries(st.sampled_from(PATHS[:5]), st.integers(0, 3)),
    steps=steps,
    looks=st.lists(st.sampled_from(PATHS), max_size=3),
)
def test_an_unseen_tree_is_the_same_dictionary(initial, steps, looks):
    drawn = []

    def draw():
        drawn.append(1)
        return dict(initial)

    shared = template()
    tree, expected = ObjectTree.unseen(shared, shared.instances, draw), dict(initial)
    for path, value in steps:
        if value is None:
            tree.remove([path])
            expected.pop(path, None)
        else:
            tree.apply({path: value})
            expected[path] = value
        for each in looks:
            assert tree.get(each) == expected.get(each)
            assert (each in tree) == (each in expected)
    is_seen = any(path[0] == 3 for path in [*looks, *(path for path, _ in steps)] if steps)
    assert len(drawn) == is_seen
    assert dict(tree) == expected
    assert len(drawn) == 1


def test_an_unseen_tree_is_set_up_and_read_there_without_a_look_at_the_rest():
    shared = template()
    tree = ObjectTree.unseen(shared, shared.instances, lambda: pytest.fail("looked at"))
    broker = ObjectPath(18830, 0)
    tree.create_instance(broker, {broker.child(1): 7})
    assert tree.instances_of(18830) == [broker]
    assert tree.values_beneath(broker) == [broker.child(1)]
    assert tree.get(broker.child(1)) == tree[broker.child(1)] == 7
    assert tree.supports(broker.child(2))
    tree.delete_instance(broker)
    assert tree.values_beneath(broker) == []


def test_a_deleted_instance_that_comes_back_has_none_of_its_old_values():
    tree = ObjectTree(template(), dict(SHARED))
    tree.delete_instance(ObjectPath(3, 0))
    assert list(tree) == []
    assert tree.instances == ()
    tree.create_instance(ObjectPath(3, 0), {PATHS[1]: 7})
    assert dict(tree) == {PATHS[1]: 7}
    assert tree.instances_of(3) == [ObjectPath(3, 0)]


def test_values_beneath_a_path_come_in_order():
    tree = ObjectTree(template(), dict(SHARED))
    tree.create_instance(ObjectPath(18830, 0), {PATHS[5]: 1})
    assert tree.values_beneath(ObjectPath(3)) == PATHS[:4]
    assert tree.values_beneath(ObjectPath(3, 0, 2)) == [PATHS[2]]
    assert tree.values_beneath(ObjectPath(18830, 0)) == [PATHS[5]]


def test_a_server_cannot_fill_the_shared_table():
    shared = template()
    tree = ObjectTree(shared, dict(SHARED))
    for number in range(6000):
        tree.apply({ObjectPath(18831, number, 0): 1})
        tree.remove([ObjectPath(18831, number, 0)])
    assert len(shared.paths) < 5000
