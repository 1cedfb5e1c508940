import { defineConfig } from "vitest/config";

// unit: beside the code, in milliseconds. The others follow the folders of test/: each starts what it needs.
const shared = { environment: "node", pool: "forks", testTimeout: 20_000 } as const;

export default defineConfig({
  test: {
    projects: [
      { test: { ...shared, name: "unit", include: ["src/**/*.test.ts", "tools/**/*.test.ts", "bench/**/*.test.ts"] } },
      { test: { ...shared, name: "vectors", include: ["test/vectors/**/*.test.ts"] } },
      { test: { ...shared, name: "contract", include: ["test/contract/**/*.test.ts"] } },
      { test: { ...shared, name: "conformance", include: ["test/conformance/**/*.test.ts"] } },
      { test: { ...shared, name: "hostile", include: ["test/hostile/**/*.test.ts"] } },
      { test: { ...shared, name: "fault", include: ["test/fault/**/*.test.ts"], testTimeout: 120_000 } },
      { test: { ...shared, name: "simulation", include: ["test/simulation/**/*.test.ts"], testTimeout: 120_000 } },
      { test: { ...shared, name: "e2e", include: ["test/e2e/**/*.test.ts"], testTimeout: 60_000 } },
      {
        test: {
          ...shared,
          name: "power-cut",
          include: ["test/durability/power-cut/**/*.test.ts"],
          testTimeout: 600_000,
        },
      },
      {
        test: { ...shared, name: "durability", include: ["test/durability/*.test.ts"], testTimeout: 120_000 },
      },
      { test: { ...shared, name: "docs", include: ["test/docs/**/*.test.ts"], testTimeout: 60_000 } },
    ],
  },
});
