// Documents of many lines, which lines.conf has found to be nothing but numbers: as a worker would join them.
// Must work on njs 0.7 (Debian 12) and on current njs.

// Rows of a CSV; '' when they are not equally long, which a worker tells the client.
function rows(r) {
    const lines = split(r);
    const width = lines[0].split(',').length;
    for (let i = 1; i < lines.length; i++) {
        if (lines[i].split(',').length !== width) {
            return '';
        }
    }
    return width === 1 ? '{"instances":[' + lines.join(',') + ']}' : '{"instances":[[' + lines.join('],[') + ']]}';
}

// JSON documents, one a line, without the blanks around them.
function documents(r) {
    const lines = split(r);
    for (let i = 0; i < lines.length; i++) {
        lines[i] = lines[i].trim();
    }
    return '{"instances":[' + lines.join(',') + ']}';
}

// The lines that are not empty. The first is not; a text without empty lines and CR is most often all there is.
function split(r) {
    let text = r.variables.request_body;
    if (text.indexOf('\r') >= 0 || text.indexOf('\n\n') >= 0) {
        text = text.replace(/[\r\n]+/g, '\n');
    }
    return (text.endsWith('\n') ? text.slice(0, -1) : text).split('\n');
}

export default {rows, documents};
