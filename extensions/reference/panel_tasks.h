// Products with panels, cut into tasks for several threads.
#pragma once

#include <algorithm>
#include <cstdint>

#include "panel_product.h"
#include "parallel.h"

namespace course {

constexpr int MOST_PRODUCTS = 4;

// Calls body(product, panel of it, first token, behind the last token, worker) for all panels of all products with all M
// tokens, `tokens_a_task` at a time.
//
// A task is a run of panels with a run of tokens: small enough that no thread waits long for the last, large enough that
// taking one costs nothing beside it. prepare(), if there is something to prepare, is called at the beginning of each and
// returns what is to live until its end.
template <class Prepare, class Body>
void for_panels(const Product* products, int count, int M, int tokens_a_task, Parallel& parallel, const Prepare& prepare,
                const Body& body) {
  // Fewer multiplications than this are done before another thread has woken up.
  constexpr int64_t WORTH_SHARING = 50'000;
  int firsts[MOST_PRODUCTS] = {}, panels = 0;  // all products' panels, one after the other
  for (int i = 0; i < count; i++) {
    firsts[i] = panels;
    panels += products[i].w->count();
  }
  const int panels_a_task = std::max(1, panels / (8 * parallel.workers()));
  const int panel_runs = (panels + panels_a_task - 1) / panels_a_task;
  const int token_runs = (M + tokens_a_task - 1) / tokens_a_task;
  auto task = [&](int index, int worker) {
    const int begin = index / panel_runs * tokens_a_task, end = std::min(M, begin + tokens_a_task);
    const int first = index % panel_runs * panels_a_task, last = std::min(panels, first + panels_a_task);
    [[maybe_unused]] const auto prepared = prepare();
    for (int panel = first; panel < last; panel++) {
      int i = count - 1;
      while (firsts[i] > panel) i--;
      body(products[i], panel - firsts[i], begin, end, worker);
    }
  };
  const int64_t work = static_cast<int64_t>(M) * panels * PANEL_ROWS * products[0].w->columns();
  if (work > WORTH_SHARING) {
    parallel.for_each(panel_runs * token_runs, task);
  } else {
    for (int i = 0; i < panel_runs * token_runs; i++) task(i, 0);
  }
}

}  // namespace course
