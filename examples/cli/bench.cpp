// The command bench: tokens per second, beside what the machine's memory would allow.
#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "benchmarks/support/bandwidth.hpp"
#include "commands.hpp"
#include "engine.hpp"
#include "inlay/formats/kv_type.hpp"
#include "inlay/kernels/kv_layout.hpp"
#include "inlay/weights/packed_weights.hpp"
#include "inlay/weights/tensor_roles.hpp"

namespace cli {

using inlay::ErrorCode;
using inlay::Fail;
using inlay::ModelConfig;
using inlay::ModelFile;
using inlay::Result;
using inlay::TensorRole;
using inlay::TokenId;
using Json = nlohmann::ordered_json;

namespace {

// --- what a token costs ---

struct TokenCost {
  std::size_t weight_bytes = 0;
  std::size_t multiplications = 0;
};

// Of one decoded token. The embedding table is read whole only where it is the output matrix too; of a layer's experts
// only the chosen ones are.
TokenCost CostOf(const ModelFile& file) {
  const ModelConfig& config = file.config();
  TokenCost cost;
  for (std::size_t i = 0; i < inlay::TensorCount(config); ++i) {
    const inlay::TensorId id = inlay::TensorAt(i);
    const TensorRole role = id.role;
    if (!inlay::HasRole(config, id)) continue;
    const inlay::TensorShape shape = inlay::ShapeOf(config, id);
    const std::size_t bytes = inlay::PackedTensorBytes(config, id, file.types()[i]);
    const std::size_t used = shape.count > 1 ? config.experts_per_token : 1;
    const bool one_row = role == TensorRole::kPositionEmbedding || role == TensorRole::kTokenTypes ||
                         (role == TensorRole::kTokenEmbedding && !config.tied_embeddings);
    if (one_row) {
      cost.weight_bytes += inlay::RowBytes(file.types()[i], shape.cols);
    } else {
      cost.weight_bytes += bytes / shape.count * used;
      if (!inlay::IsVector(role)) cost.multiplications += shape.rows * shape.cols * used;
    }
  }
  return cost;
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 != 0 ? values[middle] : 0.5 * (values[middle - 1] + values[middle]);
}

// Ids spread over the vocabulary; the first is any that exists.
std::vector<TokenId> SomeTokens(const ModelConfig& config, std::size_t count) {
  std::vector<TokenId> tokens(count);
  for (std::size_t i = 0; i < count; ++i) tokens[i] = static_cast<TokenId>((i * 7919 + 1) % config.vocab);
  return tokens;
}

}  // namespace

// Reading and generating each start after `depth` tokens that are not measured, as llama-bench does it: what is measured is
// `prompt` tokens in passes of `batch`, and `generate` tokens one by one. One unmeasured round warms up.
Result<void> Bench(const BenchOptions& options) {
  const Clock::time_point load_start = Clock::now();
  INLAY_ASSIGN_OR_RETURN(Engine engine, Engine::Open(options.model));
  const double load_seconds = SecondsSince(load_start);
  const std::size_t longest = options.depth + std::max({options.prompt, options.generate, std::size_t{1}});
  inlay::SessionOptions session;
  session.context = options.model.context != 0 ? options.model.context : longest;
  session.kv = options.model.kv;
  session.batch = std::min(options.batch, session.context);
  if (longest > session.context) {
    return Fail(ErrorCode::kContextFull, "--context", session.context, " positions for ", longest, " tokens");
  }
  INLAY_ASSIGN_OR_RETURN(const inlay::MemoryPlan plan, engine.PlanFor(session));
  INLAY_CHECK_OK(engine.Start(session));

  const ModelConfig& config = engine.config();
  const std::vector<TokenId> before = SomeTokens(config, options.depth);
  const std::vector<TokenId> prompt = SomeTokens(config, options.prompt);
  const std::vector<TokenId> generated = SomeTokens(config, options.generate);
  std::vector<double> prefill, decode;
  Progress progress("measuring");
  const auto go_on = [](std::size_t, std::size_t) { return !Interrupted(); };
  // What was read before is read once where the cache can go back to its end.
  const auto restart = [&]() -> Result<void> {
    if (engine.Rewind(before.size()) == before.size()) return {};
    engine.Restart();
    return engine.Append(before, go_on);
  };
  for (std::size_t round = 0; round <= options.repetitions; ++round) {
    if (!prompt.empty()) {
      INLAY_CHECK_OK(restart());
      const Clock::time_point start = Clock::now();
      INLAY_CHECK_OK(engine.Append(prompt, go_on));
      if (round != 0) prefill.push_back(static_cast<double>(prompt.size()) / SecondsSince(start));
    }
    if (!generated.empty()) {
      INLAY_CHECK_OK(restart());
      const Clock::time_point start = Clock::now();
      for (const TokenId token : generated) INLAY_CHECK_OK(engine.Append({&token, 1}, go_on));
      if (round != 0) decode.push_back(static_cast<double>(generated.size()) / SecondsSince(start));
    }
    if (!progress(round + 1, options.repetitions + 1)) return Fail(ErrorCode::kCancelled, "bench", "interrupted");
  }

  const TokenCost cost = CostOf(engine.file());
  // A decoded token reads the keys and values of all before it: on average of half of what is generated.
  const std::size_t positions = options.depth + options.generate / 2;
  const std::size_t kv_bytes = plan.kv_cache / inlay::KvCapacity(session.context) * positions;
  const std::size_t bytes_per_token = cost.weight_bytes + kv_bytes;
  INLAY_ASSIGN_OR_RETURN(const inlay_bench::Bandwidth bandwidth, inlay_bench::ReadBandwidth(engine.threads()));

  Json json;
  json["model"] = options.model.path;
  json["threads"] = engine.threads().concurrency();
  json["prompt_tokens"] = options.prompt;
  json["generated_tokens"] = options.generate;
  json["depth"] = options.depth;
  json["batch"] = session.batch;
  json["context"] = session.context;
  json["kv"] = inlay::Name(session.kv);
  json["load_seconds"] = load_seconds;
  json["prefill_tps"] = prefill.empty() ? Json(nullptr) : Json(Median(prefill));
  json["decode_tps"] = decode.empty() ? Json(nullptr) : Json(Median(decode));
  json["prefill_tps_each"] = prefill;
  json["decode_tps_each"] = decode;
  json["bytes_per_token"] = bytes_per_token;
  json["weight_bytes_per_token"] = cost.weight_bytes;
  json["macs_per_token"] = cost.multiplications;
  json["read_bandwidth"] = bandwidth.bytes_per_second;
  json["read_bandwidth_buffer"] = bandwidth.buffer_bytes;
  json["decode_roofline"] =
      decode.empty() ? Json(nullptr)
                     : Json(Median(decode) * static_cast<double>(bytes_per_token) / bandwidth.bytes_per_second);
  json["memory"] = {{"weights", plan.weights}, {"kv_cache", plan.kv_cache}, {"scratch", plan.scratch}};
  return WriteOut(json.dump(1) + "\n");
}

}  // namespace cli
