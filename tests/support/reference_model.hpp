// The model once more, in double precision and as its papers define it: what the library's logits are compared with.
//
// Shares nothing with the library but the scalar decoder of the weight types, which has tests of its own. Written to be
// read, not to be fast: one token at a time, every matrix dense, the whole history of keys and values kept.
#ifndef INLAY_TESTS_SUPPORT_REFERENCE_MODEL_HPP_
#define INLAY_TESTS_SUPPORT_REFERENCE_MODEL_HPP_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <numeric>
#include <span>
#include <string>
#include <vector>

// The oracle needs no speed, GCC 12 warns about Eigen's AVX-512 code, and without it this compiles in half the time. The
// build says so for all tests, as a program must have one Eigen.
#ifndef EIGEN_DONT_VECTORIZE
#define EIGEN_DONT_VECTORIZE
#endif
#include <Eigen/Dense>

#include "inlay/config/model_config.hpp"
#include "inlay/core/token.hpp"
#include "inlay/formats/codec.hpp"
#include "tests/support/random_model.hpp"

namespace inlay_test {

class ReferenceModel {
 public:
  using Vector = Eigen::VectorXd;
  using Matrix = Eigen::MatrixXd;

  ReferenceModel(const inlay::ModelConfig& config, const FileContents& file) : c_(config) {
    for (const FileTensor& tensor : file.tensors) tensors_[tensor.name] = Decode(tensor);
  }

  // Whether the inputs of each product are rounded to int8 as the weight's type does it (blocks of 32 or 256 values, one
  // scale each); otherwise they stay as they are.
  void QuantizeActivations(bool on) { quantize_ = on; }

  // Logits after each token: [tokens][vocab].
  std::vector<Vector> Logits(std::span<const inlay::TokenId> tokens) const {
    std::vector<std::vector<Vector>> keys(c_.layers), values(c_.layers);  // [layer][position]
    std::vector<Vector> logits;
    for (std::size_t position = 0; position < tokens.size(); ++position) {
      Vector x = Mat("token_embd.weight").row(tokens[position]).transpose();
      for (std::size_t l = 0; l < c_.layers; ++l) {
        const std::string block = "blk." + std::to_string(l) + ".";
        const Vector h = RmsNorm(x, block + "attn_norm.weight");
        Vector q = Multiply(block + "attn_q.weight", h);
        Vector k = Multiply(block + "attn_k.weight", h);
        Rotate(q, c_.heads, position);
        Rotate(k, c_.kv_heads, position);
        keys[l].push_back(k);
        values[l].push_back(Multiply(block + "attn_v.weight", h));
        x += Multiply(block + "attn_output.weight", Attention(q, keys[l], values[l]));
        x += FeedForward(block, RmsNorm(x, block + "ffn_norm.weight"));
      }
      const std::string output = tensors_.contains("output.weight") ? "output.weight" : "token_embd.weight";
      logits.push_back(Multiply(output, RmsNorm(x, "output_norm.weight")));
    }
    return logits;
  }

 private:
  struct Tensor {
    std::vector<Matrix> matrices;  // one, or one per expert
    std::size_t block = 1;         // values per block of the weight type
  };

  static Tensor Decode(const FileTensor& tensor) {
    const std::size_t cols = tensor.dims[0], rows = tensor.dims.size() > 1 ? tensor.dims[1] : 1;
    const std::size_t count = tensor.dims.size() > 2 ? tensor.dims[2] : 1;
    const std::size_t row_bytes = inlay::RowBytes(tensor.type(), cols);
    Tensor out;
    out.block = inlay::Info(tensor.type()).block_values;
    std::vector<float> row(cols);
    for (std::size_t n = 0; n < count; ++n) {
      Matrix matrix(static_cast<Eigen::Index>(rows), static_cast<Eigen::Index>(cols));
      for (std::size_t r = 0; r < rows; ++r) {
        inlay::DecodeRow(tensor.type(), &tensor.data[(n * rows + r) * row_bytes], cols, row.data());
        for (std::size_t i = 0; i < cols; ++i) {
          matrix(static_cast<Eigen::Index>(r), static_cast<Eigen::Index>(i)) = static_cast<double>(row[i]);
        }
      }
      out.matrices.push_back(std::move(matrix));
    }
    return out;
  }

  const Matrix& Mat(const std::string& name) const { return tensors_.at(name).matrices[0]; }

  Vector Multiply(const std::string& name, const Vector& x, std::size_t expert = 0) const {
    const Tensor& tensor = tensors_.at(name);
    if (!quantize_ || tensor.block == 1) return tensor.matrices[expert] * x;
    Vector rounded = x;
    for (Eigen::Index at = 0; at < x.size(); at += static_cast<Eigen::Index>(tensor.block)) {
      auto block = rounded.segment(at, static_cast<Eigen::Index>(tensor.block));
      const double scale = block.cwiseAbs().maxCoeff() / 127.0;
      if (scale != 0.0) block = (block / scale).array().rint().matrix() * scale;
    }
    return tensor.matrices[expert] * rounded;
  }

  // Zhang and Sennrich 2019.
  Vector RmsNorm(const Vector& x, const std::string& weight) const {
    const double mean_square = x.squaredNorm() / static_cast<double>(x.size());
    return x.cwiseProduct(Mat(weight).row(0).transpose()) / std::sqrt(mean_square + static_cast<double>(c_.norm_epsilon));
  }

  // Su et al. 2021: the pair (2i, 2i + 1) of each head turns by position * base^(-2i / rope_dim).
  void Rotate(Vector& x, std::size_t heads, std::size_t position) const {
    for (std::size_t h = 0; h < heads; ++h) {
      for (std::size_t i = 0; i < c_.rope_dim / 2; ++i) {
        double angle = static_cast<double>(position) *
                       std::pow(static_cast<double>(c_.rope_base), -2.0 * static_cast<double>(i) / c_.rope_dim);
        if (c_.rope_scaling == inlay::RopeScaling::kLinear) angle /= static_cast<double>(c_.rope_scale);
        if (c_.rope_scaling == inlay::RopeScaling::kFactors) {
          angle /= Mat("rope_freqs.weight")(0, static_cast<Eigen::Index>(i));
        }
        double& a = x(static_cast<Eigen::Index>(h * c_.head_dim + 2 * i));
        double& b = x(static_cast<Eigen::Index>(h * c_.head_dim + 2 * i + 1));
        const double turned = a * std::cos(angle) - b * std::sin(angle);
        b = a * std::sin(angle) + b * std::cos(angle);
        a = turned;
      }
    }
  }

  // Grouped queries (Ainslie et al. 2023): neighbouring query heads share a key/value head. The query stands at the last
  // position and sees at most `window` keys.
  Vector Attention(const Vector& q, const std::vector<Vector>& keys, const std::vector<Vector>& values) const {
    const auto d = static_cast<Eigen::Index>(c_.head_dim);
    const std::size_t group = c_.heads / c_.kv_heads;
    const std::size_t first = c_.window != 0 && keys.size() > c_.window ? keys.size() - c_.window : 0;
    Vector out = Vector::Zero(q.size());
    for (std::size_t h = 0; h < c_.heads; ++h) {
      const Eigen::Index q_at = static_cast<Eigen::Index>(h) * d, kv_at = static_cast<Eigen::Index>(h / group) * d;
      Vector scores(static_cast<Eigen::Index>(keys.size() - first));
      for (std::size_t p = first; p < keys.size(); ++p) {
        scores(static_cast<Eigen::Index>(p - first)) =
            q.segment(q_at, d).dot(keys[p].segment(kv_at, d)) / std::sqrt(static_cast<double>(c_.head_dim));
      }
      const Vector weights = Softmax(scores);
      for (std::size_t p = first; p < keys.size(); ++p) {
        out.segment(q_at, d) += weights(static_cast<Eigen::Index>(p - first)) * values[p].segment(kv_at, d);
      }
    }
    return out;
  }

  static Vector Softmax(const Vector& scores) {
    const Vector e = (scores.array() - scores.maxCoeff()).exp().matrix();
    return e / e.sum();
  }

  // SwiGLU (Shazeer 2020); with experts as in Mixtral (Jiang et al. 2024): softmax over the chosen scores.
  Vector FeedForward(const std::string& block, const Vector& h) const {
    if (c_.experts == 0) return Network(block + "ffn_gate.weight", block + "ffn_up.weight", block + "ffn_down.weight", h, 0);
    const Vector scores = Multiply(block + "ffn_gate_inp.weight", h);
    std::vector<std::size_t> order(c_.experts);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      return scores(static_cast<Eigen::Index>(a)) > scores(static_cast<Eigen::Index>(b));
    });
    order.resize(c_.experts_per_token);
    Vector chosen(static_cast<Eigen::Index>(order.size()));
    for (std::size_t i = 0; i < order.size(); ++i) {
      chosen(static_cast<Eigen::Index>(i)) = scores(static_cast<Eigen::Index>(order[i]));
    }
    const Vector weights = Softmax(chosen);
    Vector out = Vector::Zero(c_.dim);
    for (std::size_t i = 0; i < order.size(); ++i) {
      out += weights(static_cast<Eigen::Index>(i)) * Network(block + "ffn_gate_exps.weight", block + "ffn_up_exps.weight",
                                                             block + "ffn_down_exps.weight", h, order[i]);
    }
    return out;
  }

  Vector Network(const std::string& gate, const std::string& up, const std::string& down, const Vector& h,
                 std::size_t expert) const {
    const Vector g = Multiply(gate, h, expert);
    const Vector silu = (g.array() / (1.0 + (-g.array()).exp())).matrix();
    return Multiply(down, silu.cwiseProduct(Multiply(up, h, expert)), expert);
  }

  inlay::ModelConfig c_;
  std::map<std::string, Tensor> tensors_;
  bool quantize_ = false;
};

}  // namespace inlay_test

#endif  // INLAY_TESTS_SUPPORT_REFERENCE_MODEL_HPP_
