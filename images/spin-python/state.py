"""What a component asks of its host, by the path behind its route:

| path | reply |
|---|---|
| `/variable/NAME` | the variable's value |
| `/count` | how often it was asked for, counted in the key-value store |
| `/keys` | the keys of the store |
| `/notes` | POST adds a note to the SQLite database, GET lists them |
| `/redis` | how often it was asked for, counted in Redis, at the variable `redis_url` |
| `/fetch` | what the server at the variable `fetch_url` answers |
"""

from componentize_py_types import Err
from spin_sdk import http, key_value, redis, sqlite, variables
from spin_sdk.http import Request, Response
from spin_sdk.util import collect


async def count() -> str:
    with await key_value.open_default() as store:
        last = await store.get("count")
        count = str(int(last or b"0") + 1)
        await store.set("count", count.encode())
        return count


async def keys() -> str:
    with await key_value.open_default() as store:
        return "\n".join(await collect(await store.get_keys()))


async def run(database: sqlite.Connection, statement: str, *values: sqlite.Value) -> list:
    _, rows, result = await database.execute(statement, list(values))
    return await collect((rows, result))


async def notes(request: Request) -> str:
    with await sqlite.Connection.open_default() as database:
        await run(database, "CREATE TABLE IF NOT EXISTS note (id INTEGER PRIMARY KEY, text TEXT)")
        if request.method == "POST":
            text = sqlite.Value_Text(str(request.body, "utf-8"))
            await run(database, "INSERT INTO note (text) VALUES (?)", text)
        rows = await run(database, "SELECT id, text FROM note ORDER BY id")
        return "\n".join(f"{row.values[0].value} {row.values[1].value}" for row in rows)


async def count_in_redis() -> str:
    with await redis.open(await variables.get("redis_url")) as connection:
        return str(await connection.incr("count"))


async def fetch() -> str:
    url = await variables.get("fetch_url")
    response = await http.send(Request("GET", url, {}, None))
    return f"{response.status} {str(response.body or b'', 'utf-8')}"


async def answer(request: Request) -> str | None:
    path = request.headers["spin-path-info"].lstrip("/")
    first, _, rest = path.partition("/")
    match first:
        case "variable":
            return await variables.get(rest)
        case "count":
            return await count()
        case "keys":
            return await keys()
        case "notes":
            return await notes(request)
        case "redis":
            return await count_in_redis()
        case "fetch":
            return await fetch()
        case _:
            return None


class HttpHandler(http.Handler):
    async def handle_request(self, request: Request) -> Response:
        try:
            text = await answer(request)
            status = 404 if text is None else 200
        except Err as error:
            status, text = 500, repr(error.value)
        return Response(status, {"content-type": "text/plain"}, f"{text}\n".encode())
