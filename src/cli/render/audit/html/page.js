(function () {
  var began = document.getElementById("began");
  var seconds = (Date.now() - Date.parse(began.dateTime)) / 1000;
  if (!(seconds > 0)) return;
  var units = [[86400, "day"], [3600, "hour"], [60, "minute"]];
  var unit = units.find(function (one) { return seconds >= one[0]; });
  var count = unit ? Math.floor(seconds / unit[0]) : 0;
  var age = unit ? count + " " + unit[1] + (count === 1 ? "" : "s") : "less than a minute";
  document.getElementById("age").textContent = ", " + age + " ago";
  if (seconds > 93600) {
    document.getElementById("old-age").textContent = age;
    document.getElementById("old").hidden = false;
  }
})();
