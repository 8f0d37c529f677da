// The saga of `bench/src/saga` on Restate: reserve, charge, confirm; what was done is undone when the charge is declined.
//
// Each step is a handler of a service of its own, called through Restate, as each of ours is a command to a service.

// Node 20 has no `Promise.withResolvers`, which the SDK uses.
Promise.withResolvers ??= function () {
  let resolve, reject;
  const promise = new this((yes, no) => ([resolve, reject] = [yes, no]));
  return { promise, resolve, reject };
};

import * as restate from "@restatedev/restate-sdk";

const inventory = restate.service({
  name: "inventory",
  handlers: {
    reserve: async (_ctx, _order) => null,
    release: async (_ctx, _order) => null,
  },
});

const payment = restate.service({
  name: "payment",
  handlers: {
    charge: async (_ctx, order) => {
      if (order.declined) {
        throw new restate.TerminalError("The payment was declined.", { errorCode: 402 });
      }
      return null;
    },
  },
});

const confirmation = restate.service({
  name: "confirmation",
  handlers: { confirm: async (_ctx, _order) => null },
});

const orders = restate.service({
  name: "orders",
  handlers: {
    // Steps that call services.
    place: async (ctx, order) => {
      const undo = [];
      try {
        undo.push(() => ctx.serviceClient(inventory).release(order));
        await ctx.serviceClient(inventory).reserve(order);
        await ctx.serviceClient(payment).charge(order);
        await ctx.serviceClient(confirmation).confirm(order);
        return "completed";
      } catch (error) {
        if (!(error instanceof restate.TerminalError)) throw error;
        for (const step of undo.reverse()) await step();
        return "compensated";
      }
    },
    // Steps that are done on the spot and only recorded.
    placeHere: async (ctx, order) => {
      const undo = [];
      try {
        undo.push(() => ctx.run("release", async () => null));
        await ctx.run("reserve", async () => null);
        await ctx.run("charge", async () => {
          if (order.declined) {
            throw new restate.TerminalError("The payment was declined.", { errorCode: 402 });
          }
          return null;
        });
        await ctx.run("confirm", async () => null);
        return "completed";
      } catch (error) {
        if (!(error instanceof restate.TerminalError)) throw error;
        for (const step of undo.reverse()) await step();
        return "compensated";
      }
    },
  },
});

restate.serve({ services: [inventory, payment, confirmation, orders], port: Number(process.argv[2]) });
