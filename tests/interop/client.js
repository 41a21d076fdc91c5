// A session of a client in Node: everything that a client of Talweg calls, from the .proto files or
// from the descriptor set. Prints what the server answered as one JSON object.
//
//     node client.js protos|descriptors PROTO_FOLDER HOST:PORT EXPERIMENT
//
// The packages are found by NODE_PATH.
"use strict";

const crypto = require("node:crypto");
const fs = require("node:fs");
const path = require("node:path");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const [source, protoFolder, address, experiment] = process.argv.slice(2);
const CALL_MS = 30_000;
const WATCH_MS = 90_000;

const options = {
  includeDirs: [protoFolder, path.join(protoFolder, "third_party")],
  keepCase: true,
  enums: String,
  longs: Number,
  oneofs: true,
  arrays: true,
};

function load() {
  const folder = path.join(protoFolder, "talweg", "v1");
  if (source === "descriptors") {
    const content = fs.readFileSync(path.join(folder, "descriptors.binpb"));
    return loader.loadFileDescriptorSetFromBuffer(content, options);
  }
  const files = fs.readdirSync(folder).filter((name) => name.endsWith(".proto"));
  return loader.loadSync(files.map((name) => `talweg/v1/${name}`), options);
}

const definition = load();
// The details of errors, which no message of the API names.
const details = loader.loadSync(["google/rpc/status.proto", "google/rpc/error_details.proto"], options);
const { ArtifactService, CatalogService, JobService, StoredDatasetService, SystemService } =
  grpc.loadPackageDefinition(definition).talweg.v1;

// What every call carries: the token of the server's stack.
const auth = new grpc.Metadata();
auth.set("authorization", `Bearer ${process.env.TALWEG_TOKEN}`);

function client(Service) {
  const stub = new Service(address, grpc.credentials.createInsecure());
  return new Proxy(stub, {
    get: (_, method) => (request) =>
      new Promise((resolve, reject) => {
        stub[method](request ?? {}, auth, { deadline: Date.now() + CALL_MS }, (error, response) =>
          error ? reject(error) : resolve(response),
        );
      }),
  });
}

const jobs = client(JobService);
const catalog = client(CatalogService);
const system = client(SystemService);
const artifacts = client(ArtifactService);
const datasets = client(StoredDatasetService);
const credentials = grpc.credentials.createInsecure();
// For calls that stream.
const watches = new JobService(address, credentials);
const uploads = new StoredDatasetService(address, credentials);
const downloads = new ArtifactService(address, credentials);

// Gives the events after a cursor, up to the last one or to the first that `until` accepts.
function watch(name, after = 0, until = () => false) {
  return new Promise((resolve, reject) => {
    const events = [];
    const call = watches.WatchJob(
      { name, after_cursor: after },
      auth,
      { deadline: Date.now() + WATCH_MS },
    );
    call.on("data", ({ event }) => {
      events.push(event);
      if (until(event)) {
        // What cancelling makes of the call is an error, too.
        call.removeAllListeners("error").on("error", () => {}).cancel();
        resolve(events);
      }
    });
    call.on("end", () => resolve(events));
    call.on("error", reject);
  });
}

const sha256 = (bytes) => crypto.createHash("sha256").update(bytes).digest("hex");

// Uploads a file in chunks, from where an earlier upload of it has got to.
async function upload(name, file_name, bytes) {
  const file = { file_name, sha256: sha256(bytes), num_bytes: bytes.length };
  // A number that is 0 is not in the answer.
  let { offset = 0 } = await datasets.GetUpload(file);
  return new Promise((resolve, reject) => {
    const call = uploads.UploadStoredDataset(
      auth,
      { deadline: Date.now() + WATCH_MS },
      (error, response) => (error ? reject(error) : resolve(response)),
    );
    call.write({ header: { name, ...file } });
    for (const size = 1000; offset < bytes.length; offset += size) {
      call.write({ chunk: { offset, data: bytes.subarray(offset, offset + size) } });
    }
    call.end();
  });
}

// Gives the bytes of a file that a job has left.
function download(job, path) {
  return new Promise((resolve, reject) => {
    const parts = [];
    const call = downloads.DownloadArtifact({ job, path }, auth, {
      deadline: Date.now() + WATCH_MS,
    });
    call.on("data", ({ data }) => parts.push(data));
    call.on("end", () => resolve(Buffer.concat(parts)));
    call.on("error", reject);
  });
}

function houses() {
  const lines = ["rooms,town,price"];
  for (let row = 0; row < 200; row += 1) {
    const rooms = (row * 7) % 9;
    const town = ["Ay", "Bex", "Chur"][row % 3];
    lines.push(`${rooms},${town},${40 * rooms + 100 * (row % 3) + (row % 5)}`);
  }
  return Buffer.from(`${lines.join("\n")}\n`);
}

// The way of a file of one's own: uploaded, trained on, watched, its model downloaded.
async function ownData() {
  const name = experiment.replaceAll(" ", "-");
  const bytes = houses();
  const stored = await upload(name, "houses.csv", bytes);
  const again = await upload(name, "houses.csv", bytes);
  const dataset = { stored: { name, target: "price" } };
  const { job } = await jobs.SubmitJob({
    spec: spec(5, { dataset, experiment: `${experiment} data`, outputs: { plots: false } }),
  });
  const events = await watch(job.name);
  const files = (await artifacts.ListArtifacts({ job: job.name })).artifacts;
  const intact = [];
  for (const file of files) {
    intact.push(sha256(await download(job.name, file.path)) === file.sha256);
  }
  return {
    stored,
    again: again.name,
    listed: (await datasets.ListStoredDatasets()).datasets.map((each) => each.name),
    outcome: events.at(-1).finished,
    spec: job.spec,
    files: files.map((each) => each.path),
    intact,
    kept: await refused(datasets.DeleteStoredDataset({ name: `datasets/${name}` })),
  };
}

async function refused(promise) {
  try {
    await promise;
  } catch (error) {
    const [bytes] = error.metadata.get("grpc-status-details-bin");
    const status = details["google.rpc.Status"].deserialize(bytes);
    const unpacked = status.details.map((any) => {
      const type = any.type_url.split("/").pop();
      return [type, details[type].deserialize(any.value)];
    });
    return { code: grpc.status[error.code], ...Object.fromEntries(unpacked) };
  }
  throw new Error("the call should have been refused");
}

function spec(seed, fields = {}) {
  return {
    experiment,
    task: { regression: {} },
    dataset: { diabetes: {} },
    model: { mlp: { hidden: [8] } },
    loss: { huber: { delta: 2 } },
    training: { epochs: 3, seed },
    outputs: { model: false, plots: false },
    ...fields,
  };
}

async function submitAndFollow() {
  const request = { spec: spec(0), request_id: `${experiment}-0` };
  const checked = await jobs.SubmitJob({ ...request, validate_only: true });
  const { job } = await jobs.SubmitJob(request);
  const again = await jobs.SubmitJob(request);
  const events = await watch(job.name);
  const middle = events[Math.floor(events.length / 2)].cursor;
  return {
    checked: checked.job,
    job: await jobs.GetJob({ name: job.name }),
    repeated: again.job.name,
    events,
    middle,
    rest: await watch(job.name, middle),
    logs: await jobs.GetJobLogs({ name: job.name }),
  };
}

async function batch() {
  const { results } = await jobs.BatchSubmitJobs({
    requests: [
      { spec: spec(1) },
      { spec: spec(2, { loss: { huber: { delta: -1 } } }) },
      { spec: spec(3, { loss: { mse: {} } }) },
    ],
  });
  for (const result of results.filter((each) => each.kind === "job")) await watch(result.job.name);
  return results;
}

async function pages(method, request, list) {
  const entries = [];
  let page_token = "";
  let count = 0;
  do {
    const page = await jobs[method]({ ...request, page_token });
    entries.push(...page[list]);
    page_token = page.next_page_token;
    count += 1;
  } while (page_token);
  return { entries, count };
}

async function control() {
  const long = spec(4, { training: { steps: 100_000_000 } });
  const { job } = await jobs.SubmitJob({ spec: long });
  const { name } = job;
  const reaches = (state) => watch(name, 0, (event) => event.state?.state === state);
  await reaches("RUNNING");
  await jobs.PauseJob({ name, reason: "a test" });
  await reaches("PAUSED");
  const paused = (await jobs.GetJob({ name })).state;
  await jobs.ResumeJob({ name });
  await jobs.CancelJob({ name, grace_period: { seconds: 10 }, reason: "enough" });
  const events = await watch(name);
  const ended = await refused(jobs.PauseJob({ name }));
  const retry = await jobs.RetryJob({ name, request_id: `${experiment}-retry` });
  await jobs.CancelJob({ name: retry.name, force: true });
  await jobs.DeleteJob({ name, force: true, validate_only: true });
  await jobs.DeleteJob({ name, force: true });
  return {
    name,
    paused,
    outcome: events.at(-1).finished,
    ended,
    retry_of: retry.retry_of,
    deleted: await refused(jobs.GetJob({ name })),
  };
}

async function catalogue() {
  return {
    losses: (await catalog.ListLosses({ task: "regression" })).losses,
    tasks: (await catalog.ListTasks()).tasks,
    models: (await catalog.ListModels()).models,
    datasets: (await catalog.ListDatasets()).datasets,
    optimizers: (await catalog.ListOptimizers()).optimizers,
    recommended: (
      await catalog.RecommendLoss({ task: "regression", facts: { outliers: 0.05 } })
    ).recommendations,
  };
}

// Workers that are busy may answer late, and are then missing from a status.
async function statusWithWorkers() {
  const deadline = Date.now() + WATCH_MS;
  for (;;) {
    const status = await system.GetStatus();
    const { workers } = await system.ListWorkers();
    if ((status.workers.length && workers.length) || Date.now() > deadline) {
      return { ...status, listed: workers };
    }
  }
}

async function main() {
  const followed = await submitAndFollow();
  const { name } = followed.job;
  const results = await batch();
  const filter = `experiment = "${experiment}" AND state = SUCCEEDED`;
  const answers = {
    services: Object.keys(definition).filter((each) => each.endsWith("Service")),
    followed,
    results,
    listed: await pages("ListJobs", { filter, page_size: 1 }, "jobs"),
    summaries: (await jobs.GetJobMetrics({ name, metrics: ["test/"] })).summaries,
    points: await pages(
      "GetJobMetrics",
      { name, metrics: ["val/"], include_points: true, page_size: 2 },
      "points",
    ),
    compared: await jobs.CompareJobs({ filter, metric: "test/mae", group_by: ["loss"] }),
    control: await control(),
    collected: await jobs.CollectJobs({
      older_than: { seconds: 86_400 },
      filter,
      validate_only: true,
    }),
    data: await ownData(),
    catalogue: await catalogue(),
    status: await statusWithWorkers(),
    unknown: await refused(jobs.GetJob({ name: "jobs/none" })),
    invalid: await refused(jobs.SubmitJob({ spec: spec(0, { loss: { huber: { delta: -1 } } }) })),
    reused: await refused(jobs.SubmitJob({ spec: spec(9), request_id: `${experiment}-0` })),
  };
  return JSON.stringify(answers);
}

main().then(
  // To a pipe, writing goes on behind the call.
  (answers) => process.stdout.write(answers, () => process.exit(0)),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
