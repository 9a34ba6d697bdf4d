// What a component asks of its host, by the path behind its route: `/variable/NAME`, `/count` in the
// key-value store, `/keys` of it.
import { AutoRouter } from "itty-router";
import { get as variable } from "fermyon:spin/variables@2.0.0";
import { Store } from "fermyon:spin/key-value@2.0.0";

const router = AutoRouter({ base: "/state" });
const text = (value) => new Response(`${value}\n`);

router.get("/variable/:name", ({ params }) => text(variable(params.name)));

router.get("/count", () => {
    const store = Store.open("default");
    const last = store.get("count");
    const count = String(Number(last ? new TextDecoder().decode(last) : 0) + 1);
    store.set("count", new TextEncoder().encode(count));
    return text(count);
});

router.get("/keys", () => text(Store.open("default").getKeys().join("\n")));

// An error of the host arrives as an exception with the error as its payload.
const failed = (error) => new Response(`${JSON.stringify(error.payload ?? String(error))}\n`, { status: 500 });

addEventListener("fetch", (event) => event.respondWith(router.fetch(event.request).catch(failed)));
