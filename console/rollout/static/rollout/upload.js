// An archive goes up in pieces that the console counts: after a lost connection or a reload it goes on behind the
// last one counted. Without this script, or where a browser has no digests, the form is sent as one.
const PIECE_BYTES = 2 * 2 ** 20, MIB = 2 ** 20, PIECE_MS_MAX = 60_000, WAITS_S = [1, 2, 4, 8, 15, 30];
const FOR_NOW = new Set(["upload_busy", "upload_interrupted"]); // reasons of refusals that pass by themselves
const box = document.querySelector("[data-upload]"), form = box.closest("form"), said = box.dataset;
const chosen = form.querySelector("input[type=file]"), submit = form.querySelector("button[type=submit], button:not([type])");
const bar = box.querySelector("progress"), count = box.querySelector("[data-count]");
const status = box.querySelector("[role=status]"); // is read aloud: says what changes, not each piece
const again = box.querySelector("[data-again]"), stop = box.querySelector("[data-stop]");
let leaving = null; // aborts what is under way

class Refused extends Error {
    constructor(answer, problem) {
        super(problem.detail ?? `${answer.status} ${answer.statusText}`);
        this.reason = problem.reason;
        this.status = answer.status;
    }
    get passes() { return FOR_NOW.has(this.reason) || (this.status >= 500 && !this.reason) || this.status === 429; }
}

const mib = (bytes) => new Intl.NumberFormat(document.documentElement.lang, { maximumFractionDigits: 1 }).format(bytes / MIB);
const filled = (text, values) => text.replace(/\{(\w+)\}/g, (_all, name) => values[name]);

function say(sentence, { alert = false } = {}) {
    box.hidden = false;
    status.textContent = sentence;
    status.classList.toggle("is-alert", alert);
}

// Whoever pressed what goes away stands where it is gone on from.
function takeAway(button) {
    const had = document.activeElement === button;
    button.hidden = true;
    if (had) (stop.hidden ? submit : stop).focus();
}

async function ask(method, path, options = {}) {
    const signal = AbortSignal.any([(options.leaving ?? leaving).signal, AbortSignal.timeout(options.wait ?? PIECE_MS_MAX)]);
    const token = form.querySelector("[name=csrfmiddlewaretoken]").value;
    const headers = { "X-CSRFToken": token, Accept: "application/json", ...options.headers };
    const answer = await fetch(`${said.api}${path}`, { method, headers, body: options.body, signal });
    if (answer.ok) return answer;
    throw new Refused(answer, await answer.json().catch(() => ({})));
}

async function announced(file, digest) {
    const body = JSON.stringify({ filename: file.name, size: file.size, sha256: digest, note: form.elements.note.value });
    return (await ask("POST", "", { body, headers: { "Content-Type": "application/json" } })).json();
}

async function digestOf(file) {
    const digest = await crypto.subtle.digest("SHA-256", await file.arrayBuffer());
    return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function show(offset, size) {
    bar.max = size;
    bar.value = offset;
    count.textContent = filled(said.arrived, { done: mib(offset), size: mib(size) });
}

async function send(file, upload) {
    let { offset } = upload;
    say(said.sending);
    show(offset, file.size);
    while (offset < file.size) {
        const headers = { "Upload-Offset": String(offset), "Content-Type": "application/offset+octet-stream" };
        const body = file.slice(offset, offset + PIECE_BYTES);
        const answer = await ask("PATCH", `${upload.id}/`, { headers, body });
        offset = Number(answer.headers.get("Upload-Offset"));
        show(offset, file.size);
    }
    say(said.verifying);
    return (await ask("POST", `${upload.id}/finish/`, { wait: 10 * PIECE_MS_MAX })).json();
}

// Until the time is over, somebody is impatient, or the browser finds its network again.
function waited(seconds) {
    again.hidden = false;
    return new Promise((resolve) => {
        const timer = Number.isFinite(seconds) && setTimeout(resolve, seconds * 1000);
        const now = () => { clearTimeout(timer); resolve(); };
        again.addEventListener("click", now, { once: true });
        if (timer) window.addEventListener("online", now, { once: true });
        leaving.signal.addEventListener("abort", now, { once: true });
    }).finally(() => takeAway(again));
}

// A person who logged in anew has another token than this page was made with.
async function freshToken() {
    const page = new DOMParser().parseFromString(await (await fetch(location.href)).text(), "text/html");
    const token = page.querySelector("form.c-ask [name=csrfmiddlewaretoken]");
    if (token) form.querySelector("[name=csrfmiddlewaretoken]").value = token.value;
}

async function upload(file) {
    say(said.hashing);
    bar.removeAttribute("value");
    bar.hidden = false;
    count.textContent = "";
    const digest = await digestOf(file);
    for (let failures = 0, counted = -1, known = null; ;) {
        try {
            // What has arrived, however the last try ended. A whole one may be a version by now: it is only finished again.
            if (!known || bar.value < file.size) known = await announced(file, digest);
            else known = { ...known, offset: file.size };
            if (known.offset > counted) [failures, counted] = [0, known.offset];
            const version = await send(file, known);
            location.assign(said.version.replace("/0/", `/${version.id}/`));
            return;
        } catch (error) {
            if (leaving.signal.aborted) return;
            if (error instanceof Refused && [401, 403].includes(error.status)) {
                say(said.expired, { alert: true });
                await waited(Infinity);
                await freshToken().catch(() => {});
            } else if (error instanceof Refused && !error.passes && error.reason !== "wrong_offset") {
                throw error;
            } else if (!(error instanceof Refused && error.reason === "wrong_offset" && failures++ === 0)) {
                const seconds = WAITS_S[Math.min(failures++, WAITS_S.length - 1)];
                say(filled(said.lost, { seconds }), { alert: true });
                await waited(seconds);
            }
        }
    }
}

form.addEventListener("submit", async (event) => {
    const [file] = chosen.files;
    if (!file || !globalThis.crypto?.subtle || leaving) {
        if (leaving) event.preventDefault();
        return;
    }
    event.preventDefault();
    leaving = new AbortController();
    submit.ariaDisabled = "true";
    stop.hidden = false;
    try {
        await upload(file);
    } catch (error) {
        // A file that changed or went away under the browser has no message of ours.
        say(error instanceof Refused ? error.message : said.unreadable, { alert: true });
    } finally {
        leaving = null;
        submit.ariaDisabled = "false";
        bar.hidden = !bar.hasAttribute("value");  // it would go on moving beside what says that nothing does
        takeAway(stop);
    }
});

stop.addEventListener("click", () => {
    leaving?.abort();
    say(said.stopped);
});

for (const button of document.querySelectorAll("[data-give-up]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
        try {
            // Of its own: another archive may be under way.
            await ask("DELETE", `${button.dataset.giveUp}/`, { leaving: new AbortController() });
        } catch (error) {
            say(error instanceof Refused ? error.message : said.kept, { alert: true });
            return;
        }
        const given = button.closest("li"), near = given.nextElementSibling ?? given.previousElementSibling;
        (near?.querySelector("button") ?? chosen).focus();
        (near ? given : given.closest(".u-unfinished")).remove();
    });
}
