// Keys choose an answer, Enter submits it: one photograph is one or two keystrokes.
const form = document.querySelector("[data-review]");

// Who would rather look before the model is heard closes its answer, and it stays closed.
const model = document.querySelector("[data-model]");
if (model) {
    if (form) model.open = localStorage.getItem("review.model") !== "closed";
    model.addEventListener("toggle", () => localStorage.setItem("review.model", model.open ? "open" : "closed"));
}

if (form) {
    const submit = form.querySelector("[data-submit]");
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
        const choice = typing ? null : form.querySelector(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
        if (!choice) return;
        event.preventDefault();
        choice.checked = true;
        choice.focus({ preventScroll: true });
        ready();
    });

    form.addEventListener("submit", (event) => {
        // A second Enter must not decide the next photograph, or this one twice.
        if (form.dataset.sent) event.preventDefault();
        form.dataset.sent = "1";
    });
    window.addEventListener("pageshow", () => { delete form.dataset.sent; });
}
