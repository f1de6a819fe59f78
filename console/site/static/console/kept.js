// What a person typed into a form that was refused at the door, because the session or the form's token was over, or whose
// answer never came, is given back when the form is open again; so it is where the page itself says that nothing was taken
// ([data-not-taken]). Until the console has answered it lies in this tab's own storage; an answer that is no refusal ends
// it, and so does another person's name, or logging out. Passwords and codes are never kept.
const KEPT = "console.kept";
const FILE_MS = 30_000;
const TYPED = "textarea, select, input:not([type=hidden], [type=password], [type=file], [type=submit], [autocomplete=one-time-code])";

const account = () => document.querySelector("[data-account]")?.dataset.account;
const here = () => location.pathname + location.search;
const typed = (form) => [...form.elements].filter((field) => field.name && field.matches(TYPED));
const ticked = (field) => field.type === "checkbox" || field.type === "radio";

function read() {
    try { return JSON.parse(sessionStorage.getItem(KEPT)); } catch { return null; }
}

function keep(kept) {
    // A browser that keeps nothing sends forms all the same.
    try { sessionStorage.setItem(KEPT, JSON.stringify(kept)); } catch { forget(); }
}

function forget() {
    try { sessionStorage.removeItem(KEPT); } catch { /* there is nothing then */ }
}

// Before anybody else hears of it: the desk of reviews sends its form itself.
document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post" || !account()) return;
    forget();
    const fields = typed(form).map((field) => ({
        name: field.name,
        value: ticked(field) ? field.value : field.multiple ? [...field.selectedOptions].map((each) => each.value) : field.value,
        ticked: ticked(field) ? field.checked : null,
    }));
    if (!fields.length) return;
    const when = Date.now();
    keep({ state: "sent", when, at: here(), whose: account(), form: [...document.forms].indexOf(form), fields });
    // Where this page stays, the answer was a file.
    setTimeout(() => { if (read()?.when === when && read().state === "sent") forget(); }, FILE_MS);
}, true);

// After everybody else has: what a script sends it knows the answer of.
window.addEventListener("submit", (event) => {
    const kept = read();
    if (event.defaultPrevented && kept?.state === "sent") keep({ ...kept, byScript: true });
});

function giveBack(kept) {
    const names = (fields) => fields.map((field) => field.name).join();
    const fits = (form) => form && names(typed(form)) === names(kept.fields);
    const form = [document.forms[kept.form], ...document.forms].find(fits);
    if (!form) return false;
    const fields = typed(form);
    fields.forEach((field, at) => {
        const { value, ticked: checked } = kept.fields[at];
        if (checked !== null) field.checked = field.value === value && checked;
        else if (field.multiple) for (const each of field.options) each.selected = value.includes(each.value);
        else field.value = value;
        for (const heard of ["input", "change"]) field.dispatchEvent(new Event(heard, { bubbles: true }));
    });
    tell(form, kept.lost ? "lost" : "said");
    return true;
}

function tell(part, what) {
    const said = document.querySelector(`template[data-kept-${what}]`);
    if (said && !document.querySelector("p[data-kept]")) part.before(said.content.cloneNode(true));
}

// The form is not there any more: somebody else was faster. What was written in it is shown, to be taken along.
function showText(kept) {
    const part = document.querySelector("[data-not-taken]");
    const text = kept.fields.filter((field) => field.ticked === null && field.name === "note").map((field) => field.value.trim()).join("\n");
    if (!part || !text) return;
    part.querySelector("[data-typed]").textContent = text;
    part.hidden = false;
}

// Since it was sent no page of ours has come but this one, which is no answer to it, nor does an answer lead here: the
// network lost the answer.
function unanswered(kept, event) {
    const came = performance.getEntriesByType("navigation")[0];
    const isAnswer = document.querySelector("[data-method]")?.dataset.method !== "GET";
    return !kept.byScript && !isAnswer && (event.persisted || came?.type === "back_forward" || came?.redirectCount === 0);
}

// A script that sends a form itself says so when the network did not bring an answer.
document.addEventListener("unanswered", () => {
    const kept = read();
    if (kept?.state === "sent") keep({ ...kept, state: "refused", lost: true });
});

// After the browser has put back what it kept itself.
window.addEventListener("pageshow", (event) => {
    let kept = read();
    if (!kept) return;
    const notTaken = document.querySelector("[data-not-taken]");
    if (kept.state === "sent" && kept.at === here() && (notTaken || unanswered(kept, event))) {
        kept = { ...kept, state: "refused", lost: !notTaken };
    }
    const refused = document.querySelector("[data-refused]");  // the login page, and the page of a form's token
    if (refused && kept.state === "sent") keep({ ...kept, state: "refused" });
    if (refused) {
        if (kept.state === "given") return;
        const back = document.querySelector("[data-back]");
        if (back) back.href = kept.at;
        for (const part of document.querySelectorAll("[data-when-kept]")) part.hidden = false;
        return;
    }
    if (kept.state === "sent" || (account() && account() !== kept.whose)) { forget(); return; }
    if (kept.at !== here()) { if (kept.state === "given") forget(); return; }
    // A page that the browser had put aside as it was has a token that is over.
    if (event.persisted && kept.state === "refused" && !kept.lost) { location.reload(); return; }
    if (giveBack(kept)) keep({ ...kept, state: "given" });
    else { showText(kept); forget(); }
});
