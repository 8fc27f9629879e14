// Asks a server for the labels and phrases of pictures.
//
// npm install && node node_client.js HOST:PORT IMAGE...
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");

const [address, ...paths] = process.argv.slice(2);
if (paths.length === 0) fail(2, "usage: node node_client.js HOST:PORT IMAGE...");

const images = paths.map((file) => {
  try {
    return fs.readFileSync(file);
  } catch (error) {
    return fail(2, `${file} cannot be read: ${error.message}`);
  }
});
const options = { keepCase: true, longs: Number, enums: String, defaults: true };
const definition = protoLoader.loadSync(path.join(__dirname, "predict.proto"), options);
const { PredictionService } = grpc.loadPackageDefinition(definition).tensorflow.serving;
// TensorFlow Serving sends large messages, but grpc-js refuses answers over 4 MB by default.
const client = new PredictionService(address, grpc.credentials.createInsecure(), {
  "grpc.max_receive_message_length": 64 * 2 ** 20,
});
const request = {
  model_spec: { name: "default", signature_name: "serving_default" },
  inputs: {
    image_bytes: { dtype: "DT_STRING", tensor_shape: { dim: [{ size: images.length }] }, string_val: images },
  },
};
client.Predict(request, { deadline: Date.now() + 60000 }, (error, response) => {
  if (error) fail(1, `${address} answers ${grpc.status[error.code]}: ${error.details}`);
  const { valid, labels, scores, phrases } = response.outputs;
  for (const [row, file] of paths.entries()) {
    if (!valid.bool_val[row]) {
      console.log(`${file}\tno picture`);
      continue;
    }
    const found = cells(phrases, row).map(String).filter(Boolean).join(", ");
    console.log([file, cells(labels, row)[0], cells(scores, row)[0].toFixed(3), found].join("\t"));
  }
  client.close();
});

// Returns one row of a [rows, columns] tensor of strings or floats; servers send floats as a list or as raw bytes.
function cells({ tensor_shape, tensor_content, string_val, float_val }, row) {
  const raw = tensor_content.length > 0 && new Float32Array(Uint8Array.from(tensor_content).buffer);
  const columns = tensor_shape.dim[1].size;
  return [...(string_val.length > 0 ? string_val : raw || float_val)].slice(row * columns, (row + 1) * columns);
}

function fail(status, message) {
  console.error(message);
  process.exit(status);
}
