// A job that has not ended is looked at anew every few seconds, without the reader's doing or losing anything.
const EVERY_MS = 3000;

async function look() {
    const shown = document.querySelector("[data-job-open]");
    if (!shown) return;
    try {
        const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const fresh = page.querySelector("#job");
        if (answer.ok && fresh) document.querySelector("#job").replaceWith(document.adoptNode(fresh));
    } catch {
        // The console is away for a moment: the next look finds it.
    }
    setTimeout(look, EVERY_MS);
}

setTimeout(look, EVERY_MS);
