/** What a configuration file may cost us, and the answer at each limit: an error with its position. */

/** Objects and lists inside each other, counting each part of a dotted key; the result of substitutions included. */
export const nestingMax = 64;

/** Includes inside each other. */
export const includeDepthMax = 10;

/** Includes in all: ten levels of files that each include the next a hundred times would never end. */
export const includesMax = 100;

/** One file. */
export const fileBytesMax = 1024 * 1024;

/** Values and characters that all substitutions together may paste: stops a small file from becoming a huge tree. */
export const pastedMax = 1_000_000;

/** Values being worked out inside each other: a chain of substitutions is followed this far. */
export const resolvingMax = 256;

/** Errors, and warnings, listed of one kind; a file that is no HOCON at all would make thousands. */
export const problemsMax = 100;
