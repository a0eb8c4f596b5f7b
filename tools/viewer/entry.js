export {
  AmbientLight, AnimationMixer, Box3, Color, DirectionalLight, GridHelper, HemisphereLight,
  OrthographicCamera, PerspectiveCamera, SRGBColorSpace, Scene, Vector3, WebGLRenderer,
} from "three";
export { OrbitControls } from "three/addons/controls/OrbitControls.js";
export { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
