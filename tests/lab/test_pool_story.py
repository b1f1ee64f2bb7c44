"""Pictures of a pool show who owns what."""

from course_lib.lab.drawings.paged_kv_cache import PoolStory, pool_picture, pool_strip
from course_lib.techniques.paged_kv import BlockManager


def told():
    story = PoolStory(BlockManager(6, 4))
    story.begin("A", [1, 2, 3, 4, 5, 6])
    story.begin("B", [1, 2, 3, 4, 9])
    story.fork("A", "C")
    story.grow("C", [7])
    story.end("B")
    story.end("A")
    story.end("C")
    return story


def test_frames_follow_the_owners():
    frames = told().frames
    assert [frame.owners[0] for frame in frames] == [
        ("A",), ("A", "B"), ("A", "B", "C"), ("A", "B", "C"), ("A", "C"), ("C",), (),
    ]  # fmt: skip
    assert frames[1].title == "B comes with 5 tokens, 4 found"
    assert frames[3].title == "C writes 1 token: block 1 is copied to 3"
    assert frames[3].held[:4] == (4, 2, 1, 3)
    assert frames[3].changed == {1, 3}
    assert frames[-1].known[0] and not any(frames[-1].known[1:])


def test_every_frame_can_be_drawn():
    story = told()
    assert story.names == ["A", "B", "C"]
    for index in range(len(story.frames)):
        axis = pool_picture(story, index).axes[0]
        assert str(index + 1) in axis.get_title(loc="left")
    assert len(pool_strip(story).axes) == 8
