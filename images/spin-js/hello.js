// Greets, and shows what Spin says of a request.
import { AutoRouter } from "itty-router";

const router = AutoRouter();

router.all("*", (request) => {
    const url = new URL(request.url);
    const said = [...request.headers]
        .filter(([name]) => name.startsWith("spin-"))
        .sort()
        .map(([name, value]) => `${name}: ${value}\n`);
    return new Response(`hello from JavaScript: ${request.method} ${url.pathname}${url.search}\n${said.join("")}`);
});

addEventListener("fetch", (event) => event.respondWith(router.fetch(event.request)));
