"""An HTTP server that speaks OpenAI's API (https://platform.openai.com/docs/api-reference): `course serve`.

`make_app` builds the ASGI application around an engine; `serve` runs it.

| path | what |
|---|---|
| `POST /v1/completions` | `prompt`: a text, token ids, or a list of either |
| `POST /v1/chat/completions` | `messages` of text; `max_completion_tokens` or `max_tokens` |
| `GET /v1/models`, `/v1/models/NAME` | the one model |
| `GET /health` | 200 while the engine runs, 503 after |
| `GET /metrics` | how the engine does, in Prometheus' format |

Both kinds of completion take `max_tokens`, `temperature` (1 unless said), `top_p`, `seed`, `stop` (at most 16 strings),
`n`, `stream` and `stream_options.include_usage`, and of vLLM's own options `min_p` and `ignore_eos`. What the engine
cannot do (`logprobs`, `echo`, penalties, `logit_bias`, tools, schemas, pictures, ...) is refused with 400 and the
parameter's name, unless it is sent with the value that asks for nothing.

Errors have OpenAI's shape. 400: the request is wrong; 404: no such path or model; 405; 408: the body did not come in
time; 413: it is too long; 429: too many requests are open; 503: the server is closing. A stream whose status is sent
already ends with an event `{"error": ...}` instead of `[DONE]`.

There is no key and no encryption: the server is meant for this machine, or to stand behind one that has them.
"""

from course_lib.engine.server.app import ServerLimits, make_app
from course_lib.engine.server.serve import serve

__all__ = ["ServerLimits", "make_app", "serve"]
