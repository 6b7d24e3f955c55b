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


@given(st.lists(st.sampled_from([(0, 0), (3, 1), (9, 0), (18830, 0), (18831, 2), (18831, 0)])))
def test_instances_stay_in_order_and_are_found_by_object(numbers):
    tree = ObjectTree(template(), dict(SHARED))
    instances = [ObjectPath(*each) for each in numbers]
    for instance in instances:
        tree.create_instance(instance, {})
    expected = sorted({ObjectPath(3, 0), *instances})
    assert list(tree.instances) == expected
    for object_id in (0, 1, 3, 9, 18830, 18831, 18832):
        assert tree.instances_of(object_id) == [each for each in expected if each[0] == object_id]


def test_instances_created_together_are_as_if_created_one_by_one():
    together, apart = (ObjectTree(template(), dict(SHARED)) for _ in range(2))
    new = tuple([ObjectPath(18831, number) for number in (2, 0, 1)])
    values = {each.child(0): number for number, each in enumerate(new)}
    together.create_instances(new, values)
    for each in new:
        apart.create_instance(each, {each.child(0): values[each.child(0)]})
    assert together.instances == apart.instances
    assert dict(together) == dict(apart)
    assert together.get_each([each.child(0) for each in new]) == [0, 1, 2]


def test_devices_that_are_set_up_alike_share_paths_and_list_of_instances():
    shared = template()
    broker = ObjectPath(18830, 0)
    trees = [ObjectTree.unseen(shared, shared.instances, dict) for _ in range(2)]
    for tree in trees:
        tree.create_instance(ObjectPath(18830, 0), {ObjectPath(18830, 0, 1): "name"})
    first, second = trees
    assert first.instances is second.instances
    assert next(path for path in first if path == broker.child(1)) is next(
        path for path in second if path == broker.child(1)
    )


def test_ever_new_instances_do_not_fill_what_is_shared():
    shared = template()
    tree = ObjectTree(shared, dict(SHARED))
    for number in range(1_000):
        instance = ObjectPath(18831, number)
        tree.create_instance(instance, {instance.child(0): 1})
        tree.delete_instance(instance)
    assert tree.instances == (ObjectPath(3, 0),)
    assert len(shared._grown) <= 256


def test_any_object_may_be_looked_for_in_an_unseen_tree():
    shared = template()
    for asked in (tuple(PATHS[0]), PATHS[0]):
        tree = ObjectTree.unseen(shared, shared.instances, lambda: dict(SHARED))
        assert asked in tree
    tree = ObjectTree.unseen(shared, shared.instances, lambda: dict(SHARED))
    assert "x" not in tree
    assert tree.get_each(PATHS[:2]) == [0, 0]
    assert tree.get_each([PATHS[5]]) == [None]
