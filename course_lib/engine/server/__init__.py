"""An HTTP server that speaks OpenAI's API (https://platform.openai.com/docs/api-reference): `course serve`.

`make_app` builds the ASGI application around an engine; `serve` runs it.
"""

from course_lib.engine.server.app import ServerLimits, make_app
from course_lib.engine.server.serve import serve

__all__ = ["ServerLimits", "make_app", "serve"]
