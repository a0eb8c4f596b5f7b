"use strict";
(() => {
const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const bytesOf = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const frame = 1 / data.fps, begin = data.first_s, end = Math.max(data.last_s, begin + frame);
const video = document.querySelector("video"), hasVideo = data.video !== null;
const VIEWS = ["orbit", "top", "side", "follow", "camera"];
const ROW = 6;  // px of a joint in the timeline
let now = begin, playing = false, lastTick = 0, view = "orbit", chosen = 0, world = null;

if (hasVideo) video.src = URL.createObjectURL(new Blob([bytesOf(data.video)], {type: "video/mp4"}));
else at("stage").classList.add("alone");
at("scrub").min = begin;
at("scrub").max = end;

// --- the bodies ---
const canvas = document.querySelector("#scene canvas");
const renderer = new THREE.WebGLRenderer({canvas, antialias: true, preserveDrawingBuffer: true});
const scene = new THREE.Scene();
scene.add(new THREE.HemisphereLight(0xffffff, 0x777788, 2.2));
const sun = new THREE.DirectionalLight(0xffffff, 2);
sun.position.set(2, 5, 3);
scene.add(sun);
const dark = window.matchMedia("(prefers-color-scheme: dark)");
// Cut each line of the grid: software drivers leave out lines that reach behind the camera.
function cutIntoMetres(grid) {
  const { position, color } = grid.attributes;
  const points = [];
  const colours = [];
  for (let row = 0; row < position.count; row += 2) {
    for (let piece = 0; piece < 40; piece += 1) {
      for (const part of [piece / 40, (piece + 1) / 40]) {
        for (const get of ["getX", "getY", "getZ"]) {
          points.push((1 - part) * position[get](row) + part * position[get](row + 1));
          colours.push(color[get](row));
        }
      }
    }
  }
  grid.setAttribute("position", new position.constructor(points, 3));
  grid.setAttribute("color", new color.constructor(colours, 3));
}
const ground = new THREE.GridHelper(40, 40, 0x888888, 0xaaaaaa);
cutIntoMetres(ground.geometry);
ground.position.y = data.floor;
scene.add(ground);
const eye = new THREE.PerspectiveCamera(45, 1, 0.05, 200);
const flat = new THREE.OrthographicCamera(-1, 1, 1, -1, 0.05, 200);
const control = new THREE.OrbitControls(eye, canvas);

new THREE.GLTFLoader().parse(bytesOf(data.glb).buffer, "", (file) => {
  scene.add(file.scene);
  const mixer = new THREE.AnimationMixer(file.scene);
  const actions = file.animations.map((clip) => mixer.clipAction(clip).play());
  const roots = data.people.map((p) =>
    file.scene.getObjectByName("person" + String(p.id).padStart(2, "0")));
  // their bounds are those of the rest pose
  file.scene.traverse((o) => { if (o.isSkinnedMesh) o.frustumCulled = false; });
  world = {mixer, actions, roots, length: Math.max(0, ...file.animations.map((c) => c.duration)),
    lens: file.cameras[0] || null};
  pose();
  look("orbit");
  document.body.dataset.state = "ready";
}, (error) => { document.body.dataset.state = "failed"; throw error; });

function pose() {
  if (!world) return;
  const time = Math.min(Math.max(now - data.start_s, 0), world.length);
  for (const action of world.actions) { action.time = time; action.paused = true; }
  world.mixer.update(0);
  scene.updateMatrixWorld(true);
}

function pelvis(person) {
  return world.roots[person].children[0].getWorldPosition(new THREE.Vector3());
}

function middle() {
  const box = new THREE.Box3();
  world.roots.forEach((root, n) => { if (root.scale.x > 0) box.expandByPoint(pelvis(n)); });
  if (box.isEmpty()) box.expandByPoint(pelvis(chosen));
  return box;
}

function look(name) {
  view = name;
  for (const button of at("views").children) {
    button.setAttribute("aria-pressed", String(button.dataset.view === name));
  }
  control.enabled = name === "orbit" || name === "follow";
  if (!world) return;
  const box = middle(), target = box.getCenter(new THREE.Vector3());
  const reach = 2.2 + 0.9 * box.getSize(new THREE.Vector3()).length();
  if (name === "orbit" || name === "follow") {
    const centre = name === "follow" ? pelvis(chosen) : target;
    control.target.copy(centre);
    eye.position.copy(centre).add(new THREE.Vector3(0.35, 0.25, 1).multiplyScalar(reach * 1.25));
    eye.fov = 45;
  }
  eye.up.set(0, 1, 0);
}

function aim() {
  const aspect = canvas.clientWidth / Math.max(canvas.clientHeight, 1);
  if (view === "top" || view === "side") {
    const box = middle(), centre = box.getCenter(new THREE.Vector3());
    const half = 1.6 + 0.55 * box.getSize(new THREE.Vector3()).length();
    flat.left = -half * aspect; flat.right = half * aspect; flat.top = half; flat.bottom = -half;
    flat.up.set(0, view === "top" ? 0 : 1, view === "top" ? -1 : 0);
    flat.position.copy(centre).add(new THREE.Vector3(view === "side" ? 50 : 0, view === "top" ? 50 : 0, 0));
    flat.lookAt(centre);
    flat.updateProjectionMatrix();
    return flat;
  }
  if (view === "camera" && world.lens) {
    const lens = world.lens, wide = aspect >= lens.aspect;
    const up = Math.tan(lens.fov * Math.PI / 360) * (wide ? 1 : lens.aspect / aspect);
    lens.getWorldPosition(eye.position);
    lens.getWorldQuaternion(eye.quaternion);
    eye.fov = 2 * Math.atan(up) * 180 / Math.PI;
  } else {
    if (view === "follow") {
      const step = pelvis(chosen).sub(control.target);
      control.target.add(step);
      eye.position.add(step);
    }
    control.update();
  }
  eye.aspect = aspect;
  eye.updateProjectionMatrix();
  return eye;
}

function draw() {
  if (!world) return;
  const wide = canvas.clientWidth, high = canvas.clientHeight;
  renderer.setPixelRatio(Math.min(window.devicePixelRatio, 2));
  if (canvas.width !== Math.floor(wide * renderer.getPixelRatio()) ||
      canvas.height !== Math.floor(high * renderer.getPixelRatio())) renderer.setSize(wide, high, false);
  scene.background = new THREE.Color(dark.matches ? 0x1c2027 : 0xf7f7f5);
  ground.visible = at("grid").checked;
  renderer.render(scene, aim());
  document.body.dataset.drawn = view;
}

// --- time ---
function seek(time, fromVideo) {
  now = Math.min(Math.max(time, begin), end);
  if (hasVideo && !fromVideo && Math.abs(video.currentTime + begin - now) > 1e-4) {
    video.currentTime = now - begin;
  }
  pose();
  at("scrub").value = now;
  at("clock").textContent = `${now.toFixed(2)} s, frame ${Math.round(now * data.fps)}`;
  marks();
}

function play(on) {
  playing = on;
  at("play").textContent = on ? "Pause" : "Play";
  if (on && now >= end - frame) seek(begin);
  if (!hasVideo) return;
  video.playbackRate = Number(at("speed").value);
  if (on) video.play().catch(() => play(false)); else { video.pause(); seek(begin + video.currentTime, true); }
}

function tick(stamp) {
  const step = (stamp - lastTick) / 1000;
  lastTick = stamp;
  if (playing) {
    const time = hasVideo ? begin + video.currentTime : now + step * Number(at("speed").value);
    seek(time, true);
    if ((hasVideo && video.ended) || now >= end) play(false);
  }
  draw();
  requestAnimationFrame(tick);
}

// --- timeline and plot ---
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const LEFT = 110;
function sized(id) {
  const area = at(id), ratio = window.devicePixelRatio, pen = area.getContext("2d", {willReadFrequently: true});
  area.width = area.clientWidth * ratio; area.height = area.clientHeight * ratio;
  pen.scale(ratio, ratio);
  pen.font = "10px system-ui, sans-serif";
  return [area, pen, area.clientWidth, area.clientHeight];
}
const xOf = (time, wide) => LEFT + (time - begin) / (end - begin) * (wide - LEFT - 4);
const layers = {};  // what does not change with time

function charts() {
  const person = data.people[chosen];
  const [line, pen, wide] = sized("timeline");
  const width = Math.max(1, xOf(begin + frame, wide) - LEFT) + 0.6;
  person[at("doubt").value].forEach((row, n) => {
    const x = xOf(person.start_s + n / person.fps, wide);
    row.forEach((sigma, joint) => {
      const hue = 140 - 140 * Math.min(sigma / 0.15, 1);  // 15 cm and more is red
      pen.fillStyle = sigma === null ? "#888" : `hsl(${hue} 60% 50%)`;  // null: not known
      pen.fillRect(x, joint * ROW, width, ROW - 1);
    });
    const under = data.joint_names.length * ROW + 4;
    if (!person.seen[n]) { pen.fillStyle = "#d33"; pen.fillRect(x, under, width, 5); }
    (person.contacts ? person.contacts[n] : []).forEach((share, foot) => {
      pen.fillStyle = `rgb(20 108 120 / ${share})`;
      pen.fillRect(x, under + 8 + foot * 5, width, 4);
    });
  });
  pen.fillStyle = colour("--dim");
  data.joint_names.forEach((name, joint) => {
    if (joint % 2 === 0) pen.fillText(name, 0, joint * ROW + 7);
  });
  layers.timeline = pen.getImageData(0, 0, line.width, line.height);
  curve();
}

function curve() {
  const person = data.people[chosen], name = at("curve").value;
  const values = name.startsWith("speed of ")
    ? person.speeds.map((row) => row[data.joint_names.indexOf(name.slice(9))]) : person.angles[name];
  const unit = name.startsWith("speed of ") ? "m/s" : "degrees";
  const [area, pen, wide, high] = sized("plot");
  const low = Math.min(...values), top = Math.max(...values, low + 1e-3);
  const yOf = (value) => high - 14 - (value - low) / (top - low) * (high - 24);
  pen.fillStyle = colour("--dim");
  for (const value of [low, (low + top) / 2, top]) {
    pen.fillText(`${value.toFixed(unit === "m/s" ? 2 : 0)} ${unit}`, 4, yOf(value) + 3);
    pen.fillRect(LEFT, yOf(value), wide - LEFT, 0.5);
  }
  pen.strokeStyle = colour("--accent");
  pen.lineWidth = 1.5;
  pen.beginPath();
  values.forEach((value, n) => pen.lineTo(xOf(person.start_s + n / person.fps, wide), yOf(value)));
  pen.stroke();
  layers.plot = pen.getImageData(0, 0, area.width, area.height);
  marks();
}

function marks() {
  for (const id of ["timeline", "plot"]) {
    if (!layers[id]) continue;
    const area = at(id), pen = area.getContext("2d", {willReadFrequently: true});
    pen.putImageData(layers[id], 0, 0);
    pen.fillStyle = colour("--front");
    pen.fillRect(xOf(now, area.clientWidth), 0, 1, area.clientHeight);
  }
}

for (const id of ["timeline", "plot"]) {
  const jump = (event) => {
    const box = at(id).getBoundingClientRect();
    seek(begin + (event.clientX - box.left - LEFT) / (box.width - LEFT - 4) * (end - begin));
  };
  at(id).addEventListener("pointerdown", (event) => { play(false); jump(event); });
  at(id).addEventListener("pointermove", (event) => { if (event.buttons) jump(event); });
}

// --- controls ---
VIEWS.forEach((name) => {
  const button = document.createElement("button");
  button.textContent = name; button.dataset.view = name;
  button.addEventListener("click", () => look(name));
  at("views").append(button);
});
data.people.forEach((person, n) => at("person").append(new Option(person.id, n)));
at("person").addEventListener("change", () => { chosen = Number(at("person").value); charts(); look(view); });
for (const name of [...Object.keys(data.people[0].angles), ...data.joint_names.map((j) => "speed of " + j)]) {
  at("curve").append(new Option(name.replaceAll("_", " "), name));
}
at("curve").value = "knee_angle_l";
at("curve").addEventListener("change", curve);
at("doubt").addEventListener("change", charts);
at("play").addEventListener("click", () => play(!playing));
at("scrub").addEventListener("input", () => { if (playing) play(false); seek(Number(at("scrub").value)); });
at("speed").addEventListener("change", () => { video.playbackRate = Number(at("speed").value); });
data.files.forEach((file) => {
  const button = document.createElement("button");
  button.textContent = file.name.replace(/^.*?(_person\d+)?(\.\w+)$/, (all, who, suffix) =>
    suffix.slice(1).toUpperCase() + (who && data.people.length > 1 ? " " + Number(who.slice(7)) : ""));
  button.title = "Download " + file.name;
  button.addEventListener("click", async () => {
    const packed = new Blob([bytesOf(file.content)]).stream().pipeThrough(new DecompressionStream("gzip"));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await new Response(packed).blob());
    link.download = file.name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });
  at("files").append(button);
});
document.addEventListener("keydown", (event) => {
  if (event.target.tagName === "SELECT") return;
  if (event.key === " ") play(!playing);
  else if (event.key === "ArrowRight") { play(false); seek(now + frame); }
  else if (event.key === "ArrowLeft") { play(false); seek(now - frame); }
  else if (VIEWS[Number(event.key) - 1]) look(VIEWS[Number(event.key) - 1]);
  else return;
  event.preventDefault();
});
window.addEventListener("resize", charts);
dark.addEventListener("change", charts);
charts();
seek(begin);
requestAnimationFrame(tick);
})();
