"""Bodies in blocks that go wrong: broken off, begun anew, changed, refused, of other sizes."""

from __future__ import annotations

import pytest

from lwm2m.coap import (
    ACK,
    DatagramRejected,
    ExchangeFailed,
    Message,
    Request,
    Response,
    ResponseReceived,
    codes,
    find_option,
    options,
)
from lwm2m.coap.options import encode_uint
from tests.lwm2m.coap.by_hand import PEER, ByHand, block1, block2, block_of

BODY = bytes(range(48))


class Uploading(ByHand):
    """An endpoint that sends BODY in three blocks of 16."""

    def __init__(self, code: int = codes.POST) -> None:
        super().__init__(block_size=16)
        self.handle = self.send(Request(code, ("a",), payload=BODY))
        self.out = self.sent_one()

    def confirm(self, code: int = codes.CONTINUE, *found: tuple[int, bytes]) -> None:
        """Answer the block that is out; with its own Block1 unless another is given."""
        block = block_of(self.out, options.BLOCK1)
        assert block is not None
        self.answer(self.out, code, b"", *(found or (block1(*block),)))
        sent = self.sent()
        if sent:
            [self.out] = sent

    def number(self) -> int:
        """The number of the block that is out."""
        block = block_of(self.out, options.BLOCK1)
        assert block is not None
        return block.number


class TestUploading:
    @pytest.mark.parametrize("before", [0, 1])
    @pytest.mark.parametrize("code", [codes.CREATED, codes.CHANGED, codes.CONTENT])
    def test_a_final_success_before_the_last_block_is_malformed(
        self, code: int, before: int
    ) -> None:
        talk = Uploading()
        for _ in range(before):
            talk.confirm()
        talk.answer(talk.out, code)
        assert talk.told()[-1] == ExchangeFailed(PEER, talk.handle, "malformed")
        assert talk.sent() == []

    def test_a_final_success_that_says_more_is_to_come_is_malformed(self) -> None:
        talk = Uploading()
        talk.confirm(codes.CHANGED, block1(0, True, 0))
        assert talk.told()[-1] == ExchangeFailed(PEER, talk.handle, "malformed")

    def test_2_31_to_the_last_block_is_malformed(self) -> None:
        talk = Uploading()
        for _ in range(3):
            talk.confirm()
        assert talk.told()[-1] == ExchangeFailed(PEER, talk.handle, "malformed")

    def test_a_server_that_acts_on_each_block_gets_all_of_them(self) -> None:
        # RFC 7959 §3.2, figure 8: 2.04 with the M bit unset.
        talk = Uploading(codes.PUT)
        for number in range(3):
            assert talk.number() == number
            talk.confirm(codes.CHANGED, block1(number, False, 0))
        assert talk.told() == [ResponseReceived(PEER, talk.handle, Response(codes.CHANGED))]

    def test_a_server_that_leaves_block1_out_of_its_last_answer_is_understood(self) -> None:
        talk = Uploading()
        talk.confirm()
        talk.confirm()
        talk.answer(talk.out, codes.CHANGED)
        assert talk.told() == [ResponseReceived(PEER, talk.handle, Response(codes.CHANGED))]

    def test_blocks_that_were_lost_at_the_server_are_sent_once_more_from_the_first(self) -> None:
        # RFC 7959 §2.9.2.
        talk = Uploading()
        talk.confirm()
        talk.confirm(codes.REQUEST_ENTITY_INCOMPLETE)
        assert talk.number() == 0
        for _ in range(2):
            talk.confirm()
        talk.confirm(codes.CHANGED)
        assert talk.told() == [ResponseReceived(PEER, talk.handle, Response(codes.CHANGED))]

    def test_blocks_that_are_lost_again_are_given_up(self) -> None:
        talk = Uploading()
        for _ in range(2):
            talk.confirm()
            talk.confirm(codes.REQUEST_ENTITY_INCOMPLETE)
        told = talk.told_one(ResponseReceived)
        assert told.response.code == codes.REQUEST_ENTITY_INCOMPLETE

    def test_a_first_block_that_is_incomplete_is_given_up(self) -> None:
        talk = Uploading()
        talk.confirm(codes.REQUEST_ENTITY_INCOMPLETE)
        assert talk.told_one(ResponseReceived)

    @pytest.mark.parametrize("code", [codes.NOT_FOUND, codes.SERVICE_UNAVAILABLE, 0xBF])
    def test_any_other_error_amid_the_body_is_the_answer(self, code: int) -> None:
        talk = Uploading()
        talk.confirm()
        talk.confirm(code)
        assert talk.told_one(ResponseReceived).response.code == code

    def test_4_13_amid_the_body_is_the_answer_whatever_size_it_names(self) -> None:
        talk = ByHand(block_size=64)
        talk.send(Request(codes.PUT, payload=bytes(200)))
        talk.answer(talk.sent_one(), codes.CONTINUE, b"", block1(0, True, 2))
        talk.answer(talk.sent_one(), codes.REQUEST_ENTITY_TOO_LARGE, b"", block1(1, True, 0))
        assert talk.told_one(ResponseReceived)

    def test_a_whole_body_that_is_refused_with_a_size_goes_in_blocks_of_it(self) -> None:
        # RFC 7959 §2.9.3.
        talk = ByHand()
        handle = talk.send(Request(codes.PUT, ("a",), payload=BODY))
        refusal = codes.REQUEST_ENTITY_TOO_LARGE
        talk.answer(talk.sent_one(), refusal, b"", block1(0, False, 1))
        first = talk.sent_one()
        assert (first.payload, block_of(first, options.BLOCK1)) == (BODY[:32], (0, True, 1))
        assert find_option(first.options, options.SIZE1) == encode_uint(48)
        talk.answer(first, codes.CONTINUE, b"", block1(0, True, 1))
        talk.answer(talk.sent_one(), codes.CHANGED, b"", block1(1, False, 1))
        assert talk.told() == [ResponseReceived(PEER, handle, Response(codes.CHANGED))]

    def test_a_whole_body_that_fits_the_size_it_is_refused_with_stays_refused(self) -> None:
        talk = ByHand()
        talk.send(Request(codes.PUT, payload=bytes(10)))
        talk.answer(talk.sent_one(), codes.REQUEST_ENTITY_TOO_LARGE, b"", block1(0, False, 0))
        assert talk.told_one(ResponseReceived)

    @pytest.mark.parametrize("found", [(), (block1(0, True, 0),)])
    def test_2_31_to_what_was_sent_whole_is_malformed(
        self, found: tuple[tuple[int, bytes], ...]
    ) -> None:
        talk = ByHand()
        handle = talk.send(Request(codes.PUT, payload=bytes(10)))
        talk.answer(talk.sent_one(), codes.CONTINUE, b"", *found)
        assert talk.told()[-1] == ExchangeFailed(PEER, handle, "malformed")

    def test_an_upload_without_confirmation_is_broken_off_by_a_timeout(self) -> None:
        talk = Uploading()
        talk.confirm()
        talk.wait(200.0)
        assert talk.told() == [ExchangeFailed(PEER, talk.handle, "timeout")]


class TestDownloading:
    def _begun(self, code: int = codes.GET, *found: tuple[int, bytes]) -> tuple[ByHand, int]:
        talk = ByHand(block_size=16, payload_bytes_max=100)
        handle = talk.send(Request(code, ("a",)))
        talk.answer(talk.sent_one(), codes.CONTENT, b"a" * 16, *found, block2(0, True, 0))
        return talk, handle

    def test_a_resource_that_changed_is_asked_for_once_more_from_the_first_block(self) -> None:
        talk, handle = self._begun(codes.GET, (options.ETAG, b"1"))
        talk.answer(talk.sent_one(), codes.CONTENT, b"b" * 16, (4, b"2"), block2(1, True, 0))
        again = talk.sent_one()
        assert block_of(again, options.BLOCK2) == (0, False, 0)
        talk.answer(again, codes.CONTENT, b"b" * 16, (4, b"2"), block2(0, True, 0))
        talk.answer(talk.sent_one(), codes.CONTENT, b"c", (4, b"2"), block2(1, False, 0))
        [event] = talk.told()
        assert isinstance(event, ResponseReceived)
        assert (event.exchange, event.response.payload) == (handle, b"b" * 16 + b"c")

    def test_a_resource_that_changes_again_fails(self) -> None:
        talk, handle = self._begun(codes.GET, (options.ETAG, b"1"))
        talk.answer(talk.sent_one(), codes.CONTENT, b"b" * 16, (4, b"2"), block2(1, True, 0))
        talk.answer(talk.sent_one(), codes.CONTENT, b"b" * 16, (4, b"3"), block2(0, True, 0))
        talk.answer(talk.sent_one(), codes.CONTENT, b"b" * 16, (4, b"4"), block2(1, True, 0))
        assert talk.told()[-1] == ExchangeFailed(PEER, handle, "malformed")

    def test_what_must_not_be_done_twice_is_not_begun_anew(self) -> None:
        talk, handle = self._begun(codes.POST, (options.ETAG, b"1"))
        talk.answer(talk.sent_one(), codes.CONTENT, b"b" * 16, (4, b"2"), block2(1, True, 0))
        assert talk.told()[-1] == ExchangeFailed(PEER, handle, "malformed")
        assert talk.sent() == []

    @pytest.mark.parametrize("code", [codes.REQUEST_ENTITY_INCOMPLETE, codes.BAD_REQUEST])
    def test_a_body_that_is_not_there_any_more_is_asked_for_once_more(self, code: int) -> None:
        talk, _ = self._begun()
        talk.answer(talk.sent_one(), code)
        talk.answer(talk.sent_one(), codes.CONTENT, b"small")
        assert talk.told_one(ResponseReceived).response.payload == b"small"

    def test_another_error_amid_the_body_is_the_answer(self) -> None:
        talk, _ = self._begun()
        talk.answer(talk.sent_one(), codes.NOT_FOUND, b"", block2(1, False, 0))
        assert talk.told_one(ResponseReceived).response == Response(codes.NOT_FOUND)

    @pytest.mark.parametrize(
        ("payload", "found"),
        [
            (b"b" * 16, ()),
            (b"b" * 16, (block2(2, False, 0),)),
            (b"b" * 15, (block2(1, True, 0),)),
            (b"b" * 17, (block2(1, False, 0),)),
            (b"b" * 16, (block2(1, True, 0), (options.SIZE2, encode_uint(101)))),
            (b"b" * 16, ((options.BLOCK2, b"\x17"),)),
        ],
    )
    def test_a_block_that_makes_no_sense_ends_it(
        self, payload: bytes, found: tuple[tuple[int, bytes], ...]
    ) -> None:
        talk, handle = self._begun()
        talk.answer(talk.sent_one(), codes.CONTENT, payload, *found)
        rejected, failed = talk.told()
        assert isinstance(rejected, DatagramRejected)
        assert failed == ExchangeFailed(PEER, handle, "malformed")

    def test_a_size_that_is_announced_over_the_limit_ends_it_at_the_first_block(self) -> None:
        talk = ByHand(payload_bytes_max=100)
        handle = talk.send(Request(codes.GET, options=((options.SIZE2, b""),)))
        asked = talk.sent_one()
        assert find_option(asked.options, options.SIZE2) == b""
        size = (options.SIZE2, encode_uint(101))
        talk.answer(asked, codes.CONTENT, b"a" * 16, block2(0, True, 0), size)
        assert talk.told()[-1] == ExchangeFailed(PEER, handle, "malformed")

    def test_a_server_may_go_on_in_smaller_blocks(self) -> None:
        talk = ByHand(block_size=64)
        talk.send(Request(codes.GET))
        talk.answer(talk.sent_one(), codes.CONTENT, b"a" * 64, block2(0, True, 2))
        assert block_of(talk.sent()[0], options.BLOCK2) == (1, False, 2)


class TestServing:
    def test_a_last_block_that_is_longer_than_it_says_is_a_bad_request(self) -> None:
        talk = ByHand(block_size=16)
        talk.ask(codes.PUT, block1(0, False, 0), payload=bytes(17))
        assert talk.sent_one().code == codes.BAD_REQUEST

    def test_the_size_of_a_small_body_is_told_too_when_it_is_asked_for(self) -> None:
        talk = ByHand()
        talk.ask(codes.GET, (options.SIZE2, b""))
        talk.respond(Response(codes.CONTENT, b"small"))
        assert talk.sent_one().options == ((options.SIZE2, b"\x05"),)

    def test_a_repeated_last_block_under_a_new_id_is_incomplete(self) -> None:
        talk = ByHand(block_size=16)
        talk.ask(codes.PUT, block1(0, True, 0), payload=bytes(16))
        last = block1(1, False, 0)
        talk.ask(codes.PUT, last, payload=b"x")
        talk.sent()
        talk.respond(Response(codes.CHANGED))
        assert talk.sent_one().code == codes.CHANGED
        talk.ask(codes.PUT, last, payload=b"x")
        assert talk.sent_one().code == codes.REQUEST_ENTITY_INCOMPLETE

    def test_a_body_that_outgrows_all_memory_is_dropped(self) -> None:
        talk = ByHand(block_size=16, transfer_bytes_max=20)
        talk.ask(codes.PUT, block1(0, True, 0), payload=bytes(16))
        talk.ask(codes.PUT, block1(1, True, 0), payload=bytes(16))
        talk.ask(codes.PUT, block1(2, False, 0), payload=b"x")
        assert [answer.code for answer in talk.sent()] == [
            codes.CONTINUE, codes.REQUEST_ENTITY_TOO_LARGE, codes.REQUEST_ENTITY_INCOMPLETE,
        ]  # fmt: skip

    def test_a_body_that_is_not_kept_is_asked_for_again_when_that_is_safe(self) -> None:
        talk = ByHand(block_size=16, transfer_bytes_max=0, amplification_factor=0)
        talk.ask(codes.GET)
        talk.respond(Response(codes.CONTENT, BODY))
        assert talk.sent_one().payload == BODY[:16]
        talk.ask(codes.GET, block2(1, False, 0))
        talk.respond(Response(codes.CONTENT, BODY))
        assert talk.sent_one().payload == BODY[16:32]

    def test_an_answer_with_an_entity_tag_of_its_own_keeps_it_in_every_block(self) -> None:
        talk = ByHand(block_size=16)
        talk.ask(codes.GET)
        tagged = Response(codes.CONTENT, BODY, options=((options.ETAG, b"mine"),))
        talk.respond(tagged)
        talk.ask(codes.GET, block2(1, False, 0))
        assert [find_option(m.options, options.ETAG) for m in talk.sent()] == [b"mine"] * 2

    def test_a_block_may_be_answered_by_a_retransmitted_copy(self) -> None:
        talk = ByHand(block_size=16)
        talk.ask(codes.PUT, block1(0, True, 0), payload=bytes(16))
        first = talk.sent_one()
        copy = Message(0, codes.PUT, first.message_id, b"t", (block1(0, True, 0),), bytes(16))
        talk.hear(copy)
        assert talk.sent_one() == first
        assert first.type == ACK
