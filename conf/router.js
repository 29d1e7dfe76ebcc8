// What decision.conf asks of a request that maps cannot tell. Any doubt is left to a worker.
// Must work on njs 0.7 (Debian 12) and on current njs.
import routes from 'routes.js';

const ATTRIBUTES = 'X-Amzn-SageMaker-Custom-Attributes';
const DECISIVE = ['accept', 'content-type', 'content-encoding', ATTRIBUTES.toLowerCase()];
const ATTRIBUTE = /^\s*(tfs-[a-z-]+)\s*=\s*(\S+)\s*$/i;

// The upstream of a model server and the path of its REST API there, or '' for anything that a worker has to judge.
function find(attributes) {
    const asked = {};
    const pairs = attributes.split(',');
    for (let i = 0; i < pairs.length; i++) {
        if (!/tfs-/i.test(pairs[i])) {
            continue;
        }
        const pair = ATTRIBUTE.exec(pairs[i]);
        const key = pair && pair[1].toLowerCase();
        if (!pair || asked[key] !== undefined) {
            return '';
        }
        asked[key] = pair[2];
    }
    const name = asked['tfs-model-name'] || routes.default_model;
    const method = asked['tfs-method'] || 'predict';
    const version = asked['tfs-model-version'];
    const model = routes.models['model ' + name];
    const known = Object.keys(asked).every(
        (key) => key === 'tfs-model-name' || key === 'tfs-method' || key === 'tfs-model-version');
    if (!model || !known || routes.methods.indexOf(method) < 0
            || (version !== undefined && model.versions.indexOf(version) < 0)) {
        return '';
    }
    return model.target + (version === undefined ? '' : '/versions/' + version) + ':' + method;
}

function target(r) {
    try {
        return find(r.headersIn[ATTRIBUTES]);
    } catch (e) {  // njs 0.9 cannot read repeated headers that are not UTF-8; a worker can
        return '';
    }
}

// '1' when each header that decides was sent as one line, or not at all; else ''.
function each_is_one_line(r) {
    try {
        const seen = [];
        const lines = r.rawHeadersIn;
        for (let i = 0; i < lines.length; i++) {
            const name = lines[i][0].toLowerCase();
            if (DECISIVE.indexOf(name) >= 0) {
                if (seen.indexOf(name) >= 0) {
                    return '';
                }
                seen.push(name);
            }
        }
        return '1';
    } catch (e) {
        return '';
    }
}

export default {target, each_is_one_line};
