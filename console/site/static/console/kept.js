// What a person typed into a form that was refused at the door, because the session or the form's token was over, is
// given back when the form is open again. Until the console has answered it lies in this tab's own storage; an answer
// that is no refusal ends it, and so does another person's name, or logging out. Passwords and codes are never kept.
const KEPT = "console.kept";
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
    keep({ state: "sent", at: here(), whose: account(), form: [...document.forms].indexOf(form), fields });
}, true);

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
    const said = document.querySelector("template[data-kept-said]");
    if (said && !document.querySelector("p[data-kept-said]")) form.before(said.content.cloneNode(true));
    return true;
}

// After the browser has put back what it kept itself.
window.addEventListener("pageshow", (event) => {
    const kept = read();
    if (!kept) return;
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
    if (event.persisted && kept.state === "refused") { location.reload(); return; }
    if (giveBack(kept)) keep({ ...kept, state: "given" });
    else forget();
});
