//! What a component asks of its host, by the path behind its route:
//!
//! | path | reply |
//! |---|---|
//! | `/variable/NAME` | the variable's value |
//! | `/count` | how often it was asked for, counted in the key-value store |
//! | `/keys` | the keys of the store |
//! | `/notes` | POST adds a note to the SQLite database, GET lists them |
//! | `/redis` | how often it was asked for, counted in Redis, at the variable `redis_url` |
//! | `/fetch` | what the server at the variable `fetch_url` answers |

use spin_sdk::http::{IntoResponse, Method, Request, Response};
use spin_sdk::key_value::Store;
use spin_sdk::sqlite::{Connection, Value};
use spin_sdk::{http_component, redis, variables};

#[http_component]
async fn state(request: Request) -> anyhow::Result<impl IntoResponse> {
    let path = request.header("spin-path-info").and_then(|path| path.as_str());
    let path = path.unwrap_or_default().trim_start_matches('/');
    let reply = match path.split_once('/').unwrap_or((path, "")) {
        ("variable", name) => variables::get(name).map_err(anyhow::Error::from),
        ("count", _) => count(),
        ("keys", _) => keys(),
        ("notes", _) => notes(&request),
        ("redis", _) => count_in_redis(),
        ("fetch", _) => fetch().await,
        _ => return Ok(Response::new(404, "nothing is at this path\n")),
    };
    Ok(match reply {
        Ok(reply) => Response::new(200, format!("{reply}\n")),
        Err(error) => Response::new(500, format!("{error:#}\n")),
    })
}

fn count() -> anyhow::Result<String> {
    let store = Store::open_default()?;
    let last = store.get("count")?.unwrap_or_default();
    let last: u64 = String::from_utf8(last)?.parse().unwrap_or(0);
    let count = (last + 1).to_string();
    store.set("count", count.as_bytes())?;
    Ok(count)
}

fn keys() -> anyhow::Result<String> {
    Ok(Store::open_default()?.get_keys()?.join("\n"))
}

fn notes(request: &Request) -> anyhow::Result<String> {
    let database = Connection::open_default()?;
    database.execute("CREATE TABLE IF NOT EXISTS note (id INTEGER PRIMARY KEY, text TEXT)", &[])?;
    if *request.method() == Method::Post {
        let text = String::from_utf8(request.body().to_vec())?;
        database.execute("INSERT INTO note (text) VALUES (?)", &[Value::Text(text)])?;
    }
    let notes = database.execute("SELECT id, text FROM note ORDER BY id", &[])?;
    let line = |row: spin_sdk::sqlite::Row| {
        let id = row.get::<i64>("id").unwrap_or_default();
        format!("{id} {}", row.get::<&str>("text").unwrap_or_default())
    };
    Ok(notes.rows().map(line).collect::<Vec<_>>().join("\n"))
}

fn count_in_redis() -> anyhow::Result<String> {
    let connection = redis::Connection::open(&variables::get("redis_url")?)?;
    Ok(connection.incr("count")?.to_string())
}

async fn fetch() -> anyhow::Result<String> {
    let url = variables::get("fetch_url")?;
    let response: Response = spin_sdk::http::send(Request::get(url)).await?;
    let body = String::from_utf8_lossy(response.body()).into_owned();
    Ok(format!("{} {body}", response.status()))
}
