// Keys choose an answer, Enter submits it: one photograph is two keystrokes.
const form = document.querySelector("[data-review]");
const last = document.querySelector("[data-take-back]");

// What is folded once stays folded: who would rather look before the model is heard closes its answer.
for (const fold of document.querySelectorAll("[data-remember]")) {
    const name = fold.dataset.remember;
    const fits = fold.dataset.narrow !== "closed" || matchMedia("(min-width: 80rem)").matches;
    if (form) fold.open = (localStorage.getItem(name) ?? (fits ? "open" : "closed")) === "open";
    fold.addEventListener("toggle", () => localStorage.setItem(name, fold.open ? "open" : "closed"));
}

document.addEventListener("keydown", (event) => {
    const typing = event.target.matches("input[type=text], input[type=search], textarea");
    if (last && !typing && event.key === "z" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        last.requestSubmit(last.querySelector("button"));
    }
});

if (form) {
    const submit = form.querySelector("[data-submit]"), note = form.querySelector("[data-note]");
    const ready = () => { submit.disabled = !form.querySelector("[name=answer]:checked"); };
    form.addEventListener("change", ready);
    ready();  // the browser may have kept a choice over a reload

    document.addEventListener("keydown", (event) => {
        const typing = event.target.matches("input[type=text], input[type=search], textarea, select");
        if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
        if (event.key === "Enter") {
            if (submit.disabled || event.target.closest("a, summary, button:not([data-submit])")) return;
            event.preventDefault();
            form.requestSubmit(submit);
            return;
        }
        if (event.key === "Escape" && event.target === note) { note.blur(); return; }
        if (typing) return;
        const key = event.key.toLowerCase();
        const choice = form.querySelector(`[data-key="${CSS.escape(key)}"]`);
        if (choice) {
            choice.checked = true;
            choice.focus({ preventScroll: true });
            ready();
        } else if (key === "n") note.focus();
        else if (key === "s") form.requestSubmit(form.querySelector("[data-skip]"));
        else return;
        event.preventDefault();
    });

    form.addEventListener("submit", (event) => {
        // A second Enter must not decide the next photograph, or this one twice.
        if (form.dataset.sent) event.preventDefault();
        form.dataset.sent = "1";
    });
    window.addEventListener("pageshow", () => { delete form.dataset.sent; });
}
