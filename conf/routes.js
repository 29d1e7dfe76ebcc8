// The models that need no user code, for router.js. Rendered at start from conf/routes.js.
// A function, since what stands at the top of a script is done again for each request that the script is asked about.
export default function () {
    return {{ routes|js|indent(4) }};
}
