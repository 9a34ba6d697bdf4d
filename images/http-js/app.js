// Answers HTTP requests: `fetch` events, as in a browser's service worker.
addEventListener("fetch", (event) => event.respondWith(answer(event.request)));

async function answer(request) {
  const { pathname } = new URL(request.url);
  if (request.method === "POST") {
    return new Response((await request.text()).toUpperCase());
  }
  return new Response(`hello from JavaScript: ${pathname}\n`);
}
