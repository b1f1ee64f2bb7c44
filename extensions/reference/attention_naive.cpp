// Attention by the definition: all scores of a query, their softmax, the weighted sum of the values.
#include <cmath>

#include "attention_mask.h"

namespace course {

void attention_naive(const Heads& q, const Heads& k, const Heads& v, const HeadsOut& out, const Mask& mask,
                     const AttentionSize& size, float scale, float* scores) {
  const int queries_per_kv = size.heads / size.kv_heads;
  for (int b = 0; b < size.batch; b++) {
    for (int h = 0; h < size.heads; h++) {
      const float* keys = k.data + b * k.batch + h / queries_per_kv * k.head;
      const float* values = v.data + b * v.batch + h / queries_per_kv * v.head;
      for (int l = 0; l < size.queries; l++) {
        const float* query = q.data + b * q.batch + h * q.head + l * q.token;
        const int visible = visible_keys(mask, size, b, l);
        for (int s = 0; s < visible; s++) {
          float score = 0;
          for (int d = 0; d < size.head_dim; d++) {
            score += query[d * q.feature] * keys[s * k.token + d * k.feature];
          }
          scores[s] = score * scale;
        }
        add_mask(mask, b, h, l, 0, visible, scores);
        float largest = MINUS_INFINITY;
        for (int s = 0; s < visible; s++) largest = std::max(largest, scores[s]);
        float sum = 0;
        for (int s = 0; s < visible; s++) {
          scores[s] = largest == MINUS_INFINITY ? 0 : std::exp(scores[s] - largest);
          sum += scores[s];
        }
        float* result = out.data + b * out.batch + h * out.head + l * out.token;
        for (int d = 0; d < size.head_dim; d++) {
          float value = 0;
          for (int s = 0; s < visible; s++) value += scores[s] * values[s * v.token + d * v.feature];
          result[d] = sum > 0 ? value / sum : 0;
        }
      }
    }
  }
}

}  // namespace course
