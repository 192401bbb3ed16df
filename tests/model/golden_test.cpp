// Logits of the reference files against those that llama.cpp computes for them (tests/README of the fixtures names the
// version and the settings). The tolerances are those that the files' own documentation suggests.
#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "inlay/core/executor.hpp"
#include "tests/support/fixtures.hpp"
#include "tests/support/test_model.hpp"

namespace {

using namespace inlay_test;
using Json = nlohmann::json;

AlignedBytes ReadBytes(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  const std::vector<char> bytes(std::istreambuf_iterator<char>(in), {});
  const auto view = std::as_bytes(std::span(bytes));
  return {view.begin(), view.end()};
}

Json ReadJson(const std::filesystem::path& path) {
  std::ifstream in(path);
  return Json::parse(in);
}

// All logits of the file's tokens, and how far they are from a set of expected ones.
class Golden {
 public:
  Golden(const std::filesystem::path& gguf, const Json& expected) : expected_(expected) {
    inlay::SerialExecutor serial;
    const OpenedModel model = OpenModel(ReadBytes(gguf));
    tokens_ = expected.at("tokens").get<std::vector<inlay::TokenId>>();
    vocab_ = model->config().vocab;
    logits_ = AllLogits(*model, tokens_, inlay::KvType::kF32, serial);
  }

  // Compares with the fields "logits_last", "logits_pos" and "argmax", each with `suffix`.
  void Expect(const std::string& name, const std::string& suffix, double max, double rms) const {
    double largest = 0.0, squares = 0.0;
    std::size_t count = 0;
    const auto compare = [&](std::size_t position, const std::vector<double>& row) {
      for (std::size_t i = 0; i < row.size(); ++i) {
        const double error = std::abs(static_cast<double>(At(position, i)) - row[i]);
        largest = std::max(largest, error);
        squares += error * error;
        ++count;
      }
    };
    const auto last = expected_.at("logits_last" + suffix).get<std::vector<double>>();
    BOOST_TEST(last.size() == vocab_);
    compare(tokens_.size() - 1, last);
    for (const auto& [position, row] : expected_.at("logits_pos" + suffix).items()) {
      compare(std::stoul(position), row.get<std::vector<double>>());
    }
    const double mean = std::sqrt(squares / static_cast<double>(count));
    BOOST_TEST_MESSAGE(name << (suffix.empty() ? "" : ", ") << suffix << ": max " << largest << ", rms " << mean);
    BOOST_TEST_CONTEXT(name << suffix) {
      BOOST_TEST(largest <= max);
      BOOST_TEST(mean <= rms);
      // "top2_gap" belongs to the plain fields.
      if (!suffix.empty()) return;
      const auto gaps = expected_.at("top2_gap").get<std::vector<double>>();
      const auto argmax = expected_.at("argmax").get<std::vector<std::size_t>>();
      BOOST_TEST(argmax.size() == tokens_.size());
      for (std::size_t t = 0; t < argmax.size(); ++t) {
        if (gaps.at(t) <= 2 * max) continue;
        const float* row = &logits_[t * vocab_];
        BOOST_TEST(static_cast<std::size_t>(std::max_element(row, row + vocab_) - row) == argmax[t]);
      }
    }
  }

 private:
  float At(std::size_t position, std::size_t token) const { return logits_.at(position * vocab_ + token); }

  Json expected_;
  std::vector<inlay::TokenId> tokens_;
  std::size_t vocab_ = 0;
  std::vector<float> logits_;
};

BOOST_AUTO_TEST_SUITE(model_golden)

BOOST_AUTO_TEST_CASE(float_models) {
  for (const std::string name : {"llama_gqa", "llama3_tied", "llama_moe"}) {
    const auto gguf = FixturePath("models/" + name + ".gguf");
    if (gguf.empty()) return Skip("model_golden/float_models");
    Golden(gguf, ReadJson(FixturePath("models/" + name + ".json"))).Expect(name, "", 2e-4, 5e-5);
  }
}

BOOST_AUTO_TEST_CASE(quantised_models) {
  struct File {
    std::string name;
    // Of the plain fields, whose activations llama.cpp rounds in its own way, and of those without rounding.
    double plain_max, plain_rms, float_max, float_rms;
  };
  constexpr double kOwn = 1.0, kOwnRms = 0.15;
  const std::vector<File> files = {
      {"f32", 2e-4, 5e-5, 2e-4, 5e-5},
      // Our 16-bit floats multiply with activations of 32 bits; llama.cpp's become 16 bits.
      {"f16", 0.02, 0.005, 2e-4, 5e-5},
      {"bf16", 0.15, 0.03, 2e-4, 5e-5},
      // Blocks of 32: llama.cpp's activations have scales of 16 bits. Blocks of 256: it rounds exactly as we do.
      {"q8_0", 0.4, 0.1, kOwn, kOwnRms},
      {"q4_0", 0.4, 0.1, kOwn, kOwnRms},
      {"q4_1", 0.4, 0.1, kOwn, kOwnRms},
      {"q5_0", 0.4, 0.1, kOwn, kOwnRms},
      {"q5_1", 0.4, 0.1, kOwn, kOwnRms},
      {"iq4_nl", 0.4, 0.1, kOwn, kOwnRms},
      {"mxfp4", 0.4, 0.1, kOwn, kOwnRms},
      {"q2_k", 1e-4, 1e-5, kOwn, kOwnRms},
      {"q3_k", 1e-4, 1e-5, kOwn, kOwnRms},
      {"q4_k", 1e-4, 1e-5, kOwn, kOwnRms},
      {"q5_k", 1e-4, 1e-5, kOwn, kOwnRms},
      {"q6_k", 1e-4, 1e-5, kOwn, kOwnRms},
      {"iq4_xs", 1e-4, 1e-5, kOwn, kOwnRms},
      {"tq1_0", 1e-4, 1e-5, kOwn, kOwnRms},
      {"tq2_0", 1e-4, 1e-5, kOwn, kOwnRms},
  };
  for (const File& file : files) {
    const auto gguf = FixturePath("quants/llama_" + file.name + ".gguf");
    if (gguf.empty()) return Skip("model_golden/quantised_models");
    const Golden golden(gguf, ReadJson(FixturePath("quants/llama_" + file.name + ".json")));
    golden.Expect(file.name, "", file.plain_max, file.plain_rms);
    golden.Expect(file.name, "_f32_activations", file.float_max, file.float_rms);
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
