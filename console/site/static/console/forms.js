// Of a form that was refused: what has to be put right is read first, and each line of it leads to its field.
document.addEventListener("DOMContentLoaded", () => {
    const errors = document.querySelector("[data-errors]");
    if (!errors) return;
    errors.addEventListener("click", (event) => {
        const part = event.target.closest("a") && document.querySelector(`#${CSS.escape(event.target.closest("a").hash.slice(1))}`);
        if (!part) return;
        event.preventDefault();
        (part.matches("input, select, textarea") ? part : part.querySelector("input, select, textarea") ?? part).focus();
    });
    errors.focus();
});

// Where many boxes may be ticked: all of them or none by one click, and how many are.
document.addEventListener("DOMContentLoaded", () => {
    for (const row of document.querySelectorAll("[data-all-of]")) {
        const boxes = [...document.getElementsByName(row.dataset.allOf)], said = row.querySelector("[data-said]");
        const count = () => {
            said.textContent = said.dataset.said.replace("{chosen}", boxes.filter((box) => box.checked).length).replace("{all}", boxes.length);
        };
        const tick = (ticked) => {
            for (const box of boxes) box.checked = ticked;
            count();
        };
        row.querySelector("[data-tick]").addEventListener("click", () => tick(true));
        row.querySelector("[data-untick]").addEventListener("click", () => tick(false));
        for (const box of boxes) box.addEventListener("change", count);
        count();
        row.hidden = false;  // without a script it would do nothing
    }
});
