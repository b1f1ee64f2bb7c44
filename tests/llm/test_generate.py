"""Generation: the model's own greedy choice, streamed, stopped where it should, refused where it must."""

import json

import mlx.core as mx
import pytest
from llm.tiny import tiny_config

from course_lib.llm import generate, load, stream_generate
from course_lib.llm.prompt import encode_prompt
from course_lib.techniques.kv_cache import ConcatKVCache

PROMPT = [5, 9, 2, 77, 130]


def greedy_by_recompute(model, prompt: list[int], count: int) -> list[int]:
    """No cache, no stream: the argmax after the whole sequence, `count` times."""
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(mx.argmax(model(mx.array([tokens]))[0, -1]).item())
    return tokens[len(prompt) :]


def streamed(model, tokenizer, prompt=PROMPT, **options):
    return list(stream_generate(model, tokenizer, prompt, **({"stop_tokens": ()} | options)))


@pytest.mark.parametrize("cache", ["default", None, ConcatKVCache])
def test_greedy_tokens_are_those_of_recomputing_everything(tiny_llama, cache):
    model = tiny_llama.model
    if cache != "default":
        model, _ = load(tiny_llama.folder, cache=cache)
    pieces = streamed(model, tiny_llama.tokenizer, max_tokens=12)
    assert [piece.token for piece in pieces] == greedy_by_recompute(tiny_llama.model, PROMPT, 12)


def test_a_long_prompt_is_read_in_pieces(tiny):
    folder, lengths = tiny(config=tiny_config(max_position_embeddings=2048)), []

    def attention(queries, keys, values, *, scale, mask):
        lengths.append(queries.shape[2])
        return mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scale, mask=mask)

    model, tokenizer = load(folder, attention=attention)
    prompt = [7 + index % 200 for index in range(1100)]
    pieces = streamed(model, tokenizer, prompt, max_tokens=2)
    assert lengths == [512, 512, 512, 512, 76, 76, 1, 1]
    assert [piece.token for piece in pieces] == greedy_by_recompute(model, prompt, 2)


def test_pieces_count_and_end_with_the_length(tiny_llama):
    pieces = streamed(tiny_llama.model, tiny_llama.tokenizer, max_tokens=5)
    assert [piece.generation_tokens for piece in pieces] == [1, 2, 3, 4, 5]
    assert [piece.finish_reason for piece in pieces] == [None] * 4 + ["length"]
    assert {piece.prompt_tokens for piece in pieces} == {5}
    seconds = [piece.generation_seconds for piece in pieces]
    assert seconds == sorted(seconds) and seconds[0] == 0
    last = pieces[-1]
    assert last.prompt_tps == pytest.approx(5 / last.prompt_seconds)
    assert last.generation_tps == pytest.approx(4 / last.generation_seconds)


def test_a_stop_token_ends_the_text_and_is_left_out(tiny_llama):
    everything = streamed(tiny_llama.model, tiny_llama.tokenizer, max_tokens=8)
    stop = everything[4].token
    first = [piece.token for piece in everything].index(stop)
    pieces = streamed(tiny_llama.model, tiny_llama.tokenizer, max_tokens=8, stop_tokens=[stop])
    assert [piece.token for piece in pieces] == [piece.token for piece in everything[: first + 1]]
    assert pieces[-1].finish_reason == "stop"
    kept = [piece.token for piece in pieces[:-1]]
    assert "".join(piece.text for piece in pieces) == tiny_llama.tokenizer.decode(kept)


def saying(tiny_llama, ids: list[int]):
    """The tiny model with a vocabulary projection that says these tokens, one a step."""
    rest = iter(ids)

    def linear(x, weight):
        out = tiny_llama.model.parts.linear(x, weight)
        if weight.shape[0] != tiny_llama.model.config.vocab_size:
            return out
        return mx.broadcast_to(mx.where(mx.arange(out.shape[-1]) == next(rest, 0), 1.0, 0.0), out.shape)

    return load(tiny_llama.folder, linear=linear)


def test_the_models_own_end_token_stops_by_default(tiny_llama):
    model, tokenizer = saying(tiny_llama, [66, 67, 2, 68])
    pieces = list(stream_generate(model, tokenizer, PROMPT))
    assert [(piece.token, piece.finish_reason) for piece in pieces] == [(66, None), (67, None), (2, "stop")]


def test_text_comes_in_whole_characters_and_complete(tiny_llama):
    text = "naïve 日本語 🎉 the  end"
    ids = tiny_llama.tokenizer.encode(text)
    model, tokenizer = saying(tiny_llama, ids)
    pieces = streamed(model, tokenizer, max_tokens=len(ids))
    assert "".join(piece.text for piece in pieces) == text
    assert all("\ufffd" not in piece.text for piece in pieces)
    assert len(ids) > len(text) and "日" in [piece.text.strip() for piece in pieces]
    model, tokenizer = saying(tiny_llama, ids)
    assert generate(model, tokenizer, PROMPT, max_tokens=len(ids), stop_tokens=()) == text


def test_a_character_cut_off_at_the_end_is_marked(tiny_llama):
    ids = tiny_llama.tokenizer.encode("ab日")
    model, tokenizer = saying(tiny_llama, ids[:-1])
    assert generate(model, tokenizer, PROMPT, max_tokens=len(ids) - 1) == "ab\ufffd"


def test_generation_ends_where_the_context_does(tiny_llama):
    pieces = streamed(tiny_llama.model, tiny_llama.tokenizer, [7] * 120, max_tokens=500)
    assert len(pieces) == 128 - 120
    assert pieces[-1].finish_reason == "length"


def test_a_seed_repeats_itself_and_another_differs(tiny_llama):
    def tokens(seed):
        pieces = streamed(tiny_llama.model, tiny_llama.tokenizer, max_tokens=20, temperature=1.0, seed=seed)
        return [piece.token for piece in pieces]

    assert tokens(3) == tokens(3)
    assert tokens(3) != tokens(4)


def test_a_prompt_is_text_or_messages_or_ids(tiny_llama):
    tokenizer, config = tiny_llama.tokenizer, tiny_llama.model.config
    ids = tokenizer.encode("the 12")
    assert encode_prompt(tokenizer, "the 12", config) == ids
    assert encode_prompt(tokenizer, ids, config) == encode_prompt(tokenizer, mx.array(ids), config) == ids
    chat = encode_prompt(tokenizer, [{"role": "user", "content": "the 12"}], config)
    assert tokenizer.decode(chat) == "<|im_start|>user\nthe 12<|im_end|>\n<|im_start|>assistant\n"


def refuse(tiny_llama, message, prompt=PROMPT, **options):
    with pytest.raises(ValueError, match=message):
        stream_generate(tiny_llama.model, tiny_llama.tokenizer, prompt, **options)


@pytest.mark.parametrize("prompt", ["", [], mx.array([], dtype=mx.int32)])
def test_refuses_an_empty_prompt(tiny_llama, prompt):
    refuse(tiny_llama, "prompt is empty", prompt)


@pytest.mark.parametrize("length", [128, 500])
def test_refuses_a_prompt_that_leaves_no_room(tiny_llama, length):
    refuse(tiny_llama, f"has {length} tokens, the context 128", [7] * length)


@pytest.mark.parametrize("token", [-1, 265, 1.5, "a"])
def test_refuses_an_id_outside_the_vocabulary(tiny_llama, token):
    refuse(tiny_llama, r"token 1 of the prompt is .* 0 to 264", [3, token])


@pytest.mark.parametrize("max_tokens", [0, -3, 1.5, None, True])
def test_refuses_max_tokens_below_one(tiny_llama, max_tokens):
    refuse(tiny_llama, "max_tokens=.*at least 1", max_tokens=max_tokens)


def test_refuses_unknown_options(tiny_llama):
    refuse(tiny_llama, "unknown sampling parameter 'temprature'; there are temperature", temprature=1)


@pytest.mark.parametrize("message", [{"role": "user"}, {"content": "x"}, {"role": "user", "content": 3}])
def test_refuses_messages_without_role_or_text(tiny_llama, message):
    refuse(tiny_llama, "message 0 is .* needs", [message])


def test_refuses_what_is_no_prompt(tiny_llama):
    refuse(tiny_llama, "wanted text, a list", 7)


def test_refuses_messages_where_there_is_no_chat_template(tiny):
    folder = tiny()
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    del config["chat_template"]
    path.write_text(json.dumps(config))
    model, tokenizer = load(folder)
    with pytest.raises(ValueError, match="no chat template"):
        generate(model, tokenizer, [{"role": "user", "content": "hello"}])


@pytest.mark.model
def test_the_real_model_answers_and_stops(smollm2):
    pieces = list(stream_generate(smollm2.model, smollm2.tokenizer, PARIS))
    assert [piece.token for piece in pieces] == [504, 3575, 282, 4649, 314, 7042, 30, 2]
    assert "".join(piece.text for piece in pieces) == "The capital of France is Paris."
    assert pieces[0].prompt_tokens == 37
    assert pieces[-1].finish_reason == "stop"


@pytest.mark.model
def test_plain_mlx_lm_opens_the_folder_and_says_the_same():
    import mlx_lm

    from course_lib.llm.checkpoints import find_checkpoint

    model, tokenizer = mlx_lm.load(str(find_checkpoint("smollm2-135m")))
    prompt = tokenizer.apply_chat_template(PARIS, add_generation_prompt=True)
    assert mlx_lm.generate(model, tokenizer, prompt, max_tokens=12) == "The capital of France is Paris."


PARIS = [{"role": "user", "content": "What is the capital of France?"}]
