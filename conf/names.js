// What stands for a model's name in the name of its socket, when the name cannot stand there itself.
// The same as socket_id in stack.py. Must work on njs 0.7 (Debian 12) and on current njs.
import crypto from 'crypto';

const PLAIN = /^[A-Za-z0-9._-]{1,40}$/;

function id(r) {
    let name;
    try {
        name = decodeURIComponent(r.variables.encoded_model);
    } catch (e) {
        return '-';
    }
    return PLAIN.test(name) ? name : '~' + crypto.createHash('sha256').update(name).digest('hex').slice(0, 32);
}

export default {id};
