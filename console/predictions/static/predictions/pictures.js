// Heat map and zoom of the photographs on a page. Keys: h hides the heat map and shows it again,
// z goes near and back, + and − by steps, the arrows look around. Pictures that replace others in
// the page are made known by the event "pictures" on the part that holds them.
const NEAR = 2.5, NEAREST = 6, STEP = 1.5, LOOK = 12;
const within = (value, low, high) => Math.min(high, Math.max(low, value));

function watchHeat(view) {
    const slider = view.querySelector("[data-opacity]"), heat = view.querySelector(".p-heat");
    const apply = () => { heat.style.opacity = slider.value / 100; };
    slider.addEventListener("input", () => { delete slider.dataset.before; apply(); });
    apply();
}

function toggleHeatMaps() {
    for (const slider of document.querySelectorAll("[data-opacity]")) {
        const hidden = slider.dataset.before !== undefined;
        const before = slider.value;
        slider.value = hidden ? slider.dataset.before : 0;
        slider.dispatchEvent(new Event("input"));
        if (!hidden) slider.dataset.before = before;
    }
}

function watchZoom(frame) {
    const button = frame.parentElement.querySelector("[data-zoom-button]");
    const state = { near: 1, x: 50, y: 50 };
    const show = () => {
        frame.style.setProperty("--near", state.near);
        frame.style.setProperty("--at", `${state.x}% ${state.y}%`);
        frame.classList.toggle("is-near", state.near > 1);
        button.setAttribute("aria-pressed", state.near > 1);
    };
    const go = (near) => { state.near = within(near, 1, NEAREST); show(); };
    const look = (x, y) => { state.x = within(x, 0, 100); state.y = within(y, 0, 100); show(); };
    const at = (event) => {
        const box = frame.getBoundingClientRect();
        look(100 * (event.clientX - box.left) / box.width, 100 * (event.clientY - box.top) / box.height);
    };
    frame.addEventListener("click", (event) => { at(event); go(state.near > 1 ? 1 : NEAR); });
    frame.addEventListener("pointermove", (event) => { if (state.near > 1) at(event); });
    button.addEventListener("click", () => go(state.near > 1 ? 1 : NEAR));
    return { state, go, look };
}

let frames = [];
function watch(part) {
    part.querySelectorAll("[data-heat]").forEach(watchHeat);
    frames = [...part.querySelectorAll("[data-zoom]")].map(watchZoom);
}
watch(document);
document.addEventListener("pictures", (event) => watch(event.target));

document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.target.matches("input[type=text], input[type=search], input[type=range], textarea, select")) return;
    const key = meant(event);
    const near = frames.some((frame) => frame.state.near > 1);
    const moves = { ArrowLeft: [-LOOK, 0], ArrowRight: [LOOK, 0], ArrowUp: [0, -LOOK], ArrowDown: [0, LOOK] };
    if (key === "h") toggleHeatMaps();
    else if (key === "z") frames.forEach((frame) => frame.go(near ? 1 : NEAR));
    else if (key === "+" || key === "=") frames.forEach((frame) => frame.go(frame.state.near * STEP));
    else if (key === "-") frames.forEach((frame) => frame.go(frame.state.near / STEP));
    else if (near && key in moves) {
        const [x, y] = moves[key];
        frames.forEach((frame) => frame.look(frame.state.x + x, frame.state.y + y));
    } else return;
    event.preventDefault();
});
