/** Longer than anything a test waits for on purpose takes, even on a busy machine. */
const usualPatienceMs = 15_000;

/** What a test waits for news of. Every wait ends by itself. */
export class News {
  private readonly watchers = new Set<() => void>();

  /** Something has changed. */
  tell(): void {
    for (const watcher of [...this.watchers]) watcher();
  }

  /** The first thing that `look` finds, now or whenever there is news; what it throws ends the wait. */
  until<T>(look: () => T | undefined, late: () => Error, patienceMs = usualPatienceMs): Promise<T> {
    return new Promise((resolve, reject) => {
      const end = () => {
        clearTimeout(timer);
        this.watchers.delete(watcher);
      };
      const watcher = () => {
        try {
          const found = look();
          if (found === undefined) return;
          end();
          resolve(found);
        } catch (error) {
          end();
          reject(error);
        }
      };
      const timer = setTimeout(() => {
        end();
        reject(late());
      }, patienceMs);
      this.watchers.add(watcher);
      watcher();
    });
  }
}
