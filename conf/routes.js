// The models that need no user code, for router.js. Rendered at start from conf/routes.js.
export default {{ routes|js }};
