// What decision.conf asks of a request that maps cannot tell. Any doubt is left to a worker.
// Must work on njs 0.7 (Debian 12) and on current njs. Nothing is made at the top, and no other script is imported: that
// would be done anew for each request that a script is asked about.

// The models that need no user code. Rendered at start.
function routes() {
    return {{ routes|js|indent(4) }};
}

// What the attributes say, by name; null for anything that a worker has to judge.
function parse(attributes) {
    const pattern = /^\s*(tfs-[a-z-]+)\s*=\s*(\S+)\s*$/i;
    const asked = {};
    const pairs = attributes.split(',');
    for (let i = 0; i < pairs.length; i++) {
        if (!/tfs-/i.test(pairs[i])) {
            continue;
        }
        const pair = pattern.exec(pairs[i]);
        const key = pair && pair[1].toLowerCase();
        if (!pair || asked[key] !== undefined) {
            return null;
        }
        asked[key] = pair[2];
    }
    return asked;
}

// The upstream of a model server and the path of its REST API there, or '' for anything that a worker has to judge.
function find(attributes) {
    const known = routes();
    const asked = parse(attributes);
    if (!asked) {
        return '';
    }
    const name = asked['tfs-model-name'] || known.default_model;
    const method = asked['tfs-method'] || 'predict';
    const version = asked['tfs-model-version'];
    const model = known.models['model ' + name];
    const routable = Object.keys(asked).every(
        (key) => key === 'tfs-model-name' || key === 'tfs-method' || key === 'tfs-model-version');
    if (!model || !routable || known.methods.indexOf(method) < 0
            || (version !== undefined && model.versions.indexOf(version) < 0)) {
        return '';
    }
    return model.target + (version === undefined ? '' : '/versions/' + version) + ':' + method;
}

function target(r) {
    try {
        return find(r.headersIn['X-Amzn-SageMaker-Custom-Attributes']);
    } catch (e) {  // njs 0.9 cannot read repeated headers that are not UTF-8; a worker can
        return '';
    }
}

// The end of the path for a model that the request's own path names, whose versions nobody knows here; or ''.
function suffix(r) {
    try {
        const asked = parse(r.headersIn['X-Amzn-SageMaker-Custom-Attributes']);
        const routable = asked && Object.keys(asked).every((key) => key === 'tfs-method' || key === 'tfs-model-version');
        const method = routable ? asked['tfs-method'] || 'predict' : '';
        const version = routable && asked['tfs-model-version'];
        if (routes().methods.indexOf(method) < 0 || (version && !/^[1-9][0-9]{0,17}$/.test(version))) {
            return '';
        }
        return (version ? '/versions/' + version : '') + ':' + method;
    } catch (e) {
        return '';
    }
}

// '1' when each header that decides was sent as one line, or not at all; else ''.
function each_is_one_line(r) {
    try {
        const lines = r.rawHeadersIn;
        if (Object.keys(r.headersIn).length === lines.length) {  // as is usual: no header has several lines
            return '1';
        }
        const decisive = ['accept', 'content-type', 'content-encoding', 'x-amzn-sagemaker-custom-attributes'];
        const names = lines.map((line) => line[0].toLowerCase());
        const several = (name) => names.indexOf(name) !== names.lastIndexOf(name);
        return decisive.some(several) ? '' : '1';
    } catch (e) {
        return '';
    }
}

export default {target, suffix, each_is_one_line};
