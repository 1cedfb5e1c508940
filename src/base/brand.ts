declare const brand: unique symbol;

/** A value that only its parser makes: `Brand<string, "TopicName">` is a string known to be a topic name. */
export type Brand<Value, Name extends string> = Value & { readonly [brand]: Name };
