// Keys choose an answer, Enter submits it: one photograph is two keystrokes. While it is looked at, the next
// one's page is fetched with its pictures, and takes its place without a wait. Where that fails, the browser
// goes to the next page as it would without it.
let desk = document.querySelector("[data-desk]");
let ahead = null;  // the page that was fetched: its address, and its desk
const part = (selector) => desk.querySelector(selector);

function open() {
    const form = part("[data-review]");
    // What is folded once stays folded: who would rather look before the model is heard closes its answer.
    for (const fold of desk.querySelectorAll("[data-remember]")) {
        const name = fold.dataset.remember;
        const fits = fold.dataset.narrow !== "closed" || matchMedia("(min-width: 80rem)").matches;
        if (form) fold.open = (localStorage.getItem(name) ?? (fits ? "open" : "closed")) === "open";
        fold.addEventListener("toggle", () => localStorage.setItem(name, fold.open ? "open" : "closed"));
    }
    if (!form) return;
    form.addEventListener("change", ready);
    form.addEventListener("submit", send);
    part("[data-find]")?.addEventListener("input", narrow);
    narrow();
    ready();  // the browser may have kept a choice over a reload
    lookAhead().catch(() => { ahead = null; });
}

function ready() {
    part("[data-submit]").disabled = !part("[data-review] [name=answer]:checked");
}

// Of more classes than there are digits those that are looked for, by a part of either name; what is chosen stays.
function found() {
    const wanted = part("[data-find]")?.value.trim().toLowerCase() ?? "";
    const classes = [...desk.querySelectorAll(".r-choice:not(.is-other)")];
    return [classes, classes.filter((each) => each.lastElementChild.textContent.toLowerCase().includes(wanted))];
}

function narrow() {
    const [classes, fitting] = found();
    for (const each of classes) each.hidden = !fitting.includes(each) && !each.querySelector("input").checked;
}

function choose(choice) {
    choice.checked = choice.type !== "checkbox" || !choice.checked;
    narrow();
    choice.focus({ preventScroll: true });
    ready();
}

async function lookAhead() {
    if (!desk.dataset.ahead) return;  // only the queue says what comes next
    const here = desk, headers = { "X-CSRFToken": part("[name=csrfmiddlewaretoken]").value };
    const answer = await fetch(desk.dataset.ahead, { method: "POST", headers });
    const { next } = answer.ok ? await answer.json() : {};
    if (!next) return;
    const page = await fetch(next, { headers: { "X-Look-Ahead": "1" } });
    const found = new DOMParser().parseFromString(await page.text(), "text/html").querySelector("[data-desk]");
    // Its pictures begin to load as soon as it belongs to this document.
    if (found && page.ok && desk === here) ahead = { next, desk: document.importNode(found, true) };
}

async function send(event) {
    const form = event.target;
    // A second Enter must not decide the next photograph, or this one twice.
    if (form.dataset.sent) { event.preventDefault(); return; }
    form.dataset.sent = "1";
    if (!ahead) return;
    event.preventDefault();
    try {
        const body = new FormData(form, event.submitter);
        const answer = await fetch(location.href, { method: "POST", body, headers: { Accept: "application/json" } });
        if (answer.redirected || answer.status === 403) {
            // The session or the form's token is over: the browser's own way leads to the page that says so.
            ahead = null;
            delete form.dataset.sent;
            form.requestSubmit(event.submitter);
            return;
        }
        const { next, last, waiting } = await answer.json();
        if (ahead.next === next) show(last, waiting);
        else location.assign(next);
    } catch {
        document.dispatchEvent(new Event("unanswered"));  // what was typed is given back where it was not taken
        location.reload();  // it says what became of the answer
    }
}

function show(last, waiting) {
    const { next, desk: following } = ahead;
    ahead = null;
    desk.replaceWith(following);
    desk = following;
    part("[data-take-back]")?.remove();
    desk.insertAdjacentHTML("afterbegin", last);
    if (part("[data-waiting]")) part("[data-waiting]").textContent = waiting;
    history.pushState(null, "", next);
    desk.dispatchEvent(new Event("pictures", { bubbles: true }));
    desk.focus({ preventScroll: true });
    scrollTo(0, 0);
    open();
}

function press(event) {
    const typing = event.target.matches("input[type=text], input[type=search], textarea, select");
    const last = part("[data-take-back]"), form = part("[data-review]");
    const key = meant(event);
    if (last && !typing && key === "z" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        last.requestSubmit(last.querySelector("button"));
        return;
    }
    if (!form || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const submit = part("[data-submit]"), note = part("[data-note]"), find = part("[data-find]");
    if (find && event.target === find && (event.key === "Enter" || event.key === "Escape")) {
        event.preventDefault();
        // The first that fits is chosen by this Enter, and submitted by the next one.
        const [, [first]] = found();
        if (event.key === "Escape" || !find.value.trim()) { find.value = ""; narrow(); find.blur(); }
        else if (first) choose(first.querySelector("input"));
        return;
    }
    if (event.key === "Enter") {
        if (submit.disabled || event.target.closest("a, summary, button:not([data-submit])")) return;
        event.preventDefault();
        form.requestSubmit(submit);
        return;
    }
    if (event.key === "Escape" && event.target === note) { note.blur(); return; }
    if (typing) return;
    const choice = form.querySelector(`[data-key="${CSS.escape(key)}"]`);
    if (choice) choose(choice);
    else if (key === "n") note.focus();
    else if (key === "f" && find) find.select();
    else if (key === "s") form.requestSubmit(form.querySelector("[data-skip]"));
    else return;
    event.preventDefault();
}

if (desk) {
    open();
    document.addEventListener("keydown", press);
    window.addEventListener("popstate", () => location.reload());
    window.addEventListener("pageshow", () => { delete part("[data-review]")?.dataset.sent; });
}
