"""A batch that needs no model: each request says what its script says."""

from ....techniques.scheduling import Work


class NotARow(RuntimeError):
    """The batch was asked something impossible; `mistake` names the known mistake."""

    def __init__(self, message: str, mistake: str):
        super().__init__(message)
        self.mistake = mistake


class Scripted:
    """Runs steps for a serving loop, and keeps a diary.

    Attributes:
        now: the time, set by whoever calls the loop.
        rows: requests that have joined and not left.
        diary: of each step, number of the request -> tokens worked on.
        times: of each step.
        complete: requests that the latest step gave their last token, by max_tokens or by a stop token.
    """

    def __init__(self, max_rows: int):
        self.max_rows = max_rows
        self.now = 0.0
        self.rows, self.diary, self.times, self.complete = [], [], [], []
        self.scripts, self.number, self.spoken = {}, {}, {}

    def join(self, request):
        name = f"Request {self.number[id(request)]}"
        if request in self.rows:
            raise NotARow(f"{name} was to join, and has its row already.", "joined_twice")
        if len(self.rows) == self.max_rows:
            raise NotARow(f"{name} was to join, and all {self.max_rows} rows are in use.", "row_leak")
        self.rows.append(request)

    def leave(self, request):
        if request not in self.rows:
            raise NotARow(
                f"Request {self.number[id(request)]} was to leave, and has no row.", "cancel_no_row"
            )
        self.rows.remove(request)

    def run(self, work):
        said = {}
        self.complete = []
        for item in work:
            assert isinstance(item, Work), item
            request, count = item
            if request not in self.rows:
                raise NotARow(
                    f"Request {self.number[id(request)]} is in the work, and has no row: it has not joined.",
                    "not_joined",
                )
            whole = count == request.num_new_tokens
            request.num_computed_tokens += count
            if whole:
                place = self.spoken.get(id(request), 0)
                self.spoken[id(request)] = place + 1
                said[request] = self.scripts[id(request)][place]
                if said[request] in request.stop_tokens or place + 1 == request.max_tokens:
                    self.complete.append(request)
        self.diary.append({self.number[id(request)]: count for request, count in work})
        self.times.append(self.now)
        return said
