"""The labels that the shipped head was trained on, and what each means.

Written from their train examples, abbreviations spelled out, in the words that the talk itself uses: a section described by the questions
that are asked in it is found more often than one described by what it is for. Next: models/labels.py
"""

DESCRIPTIONS = {
    # domains of the Schema-Guided Dialogue set
    "Banks": "bank accounts: checking the balance, transferring money to someone's savings or checking account",
    "Buses": "bus travel: finding and buying bus tickets between cities, departure time, bus station, number of passengers, fare",
    "Calendar": "my calendar: what is scheduled, when I am free, adding an event to the calendar",
    "Events": "events to go to: concerts, sports games and theatre, the date, the venue and tickets",
    "Flights": "air travel: finding and reserving one-way or round trip flights, airline, airport, economy or business class",
    "Homes": "apartments for rent: bedrooms, bathrooms, rent, pets allowed, scheduling a visit to the property",
    "Hotels": "places to stay: a hotel room or a whole house to rent for some nights, star rating, check-in and check-out, booking the stay",
    "Media": "watching films at home: finding movies online by genre, director or actor, playing one with subtitles",
    "Movies": "going to the cinema: which movies are showing at a theater, show times and ticket prices",
    "Music": "songs: finding music by artist, album or genre, playing a song on a speaker or the TV",
    "RentalCars": "renting a car: pick-up city, dates and time, return, type of car, insurance, price per day",
    "Restaurants": "eating out: finding a restaurant by cuisine and price, reserving a table, party size",
    "RideSharing": "a taxi or cab ride: destination, number of passengers, shared ride, fare and waiting time",
    "Services": "appointments with a dentist, a doctor, a therapist or a hair stylist: finding one nearby and booking a time",
    "Travel": "sightseeing: attractions, museums, parks and historical places to visit in a city, free entry, good for children",
    "Weather": "the weather: forecast, temperature, rain, humidity and wind for a place and a day",
    # note sections of MTS-Dialog
    "ALLERGY": "allergies: whether the patient is allergic to any drugs, food or other things, and the reaction",
    "ASSESSMENT": "assessment: the doctor's view of what is wrong and how the known problems are doing",
    "CC": "chief complaint: why are you here today, named in a few words",
    "DIAGNOSIS": "diagnosis: the disease or injury that the doctor names",
    "DISPOSITION": "disposition: the patient is stable or improved and is being discharged home",
    "EDCOURSE": "emergency department course: treatment given in the ER or hospital and how the patient did, complications, restraints",
    "EXAM": "physical examination: let me look at your throat, listen to your lungs, press on your belly, move your arms; what is normal, tender or swollen",
    "FAM/SOCHX": "family and social history: do you smoke, drink or use drugs, are you married, what do you do for work, which diseases run in your family",
    "GENHX": "history of present illness: when did it start, how long has it lasted, how bad is the pain, does anything make it better or worse, what did the other doctor say",
    "GYNHX": "gynecologic history: pregnancies, births, menstrual periods, Pap smears, contraception, hysterectomy",
    "IMAGING": "imaging results: what the X-ray, CT, MRI or scan shows",
    "IMMUNIZATIONS": "immunizations: vaccines, flu and tetanus shots, whether they are up to date",
    "LABS": "laboratory results: values of blood tests and urine tests",
    "MEDICATIONS": "medications: which drugs and over the counter medicines the patient takes, names and doses",
    "OTHER_HISTORY": "other history: changes of medical, family and social history since the last visit, reviewed together",
    "PASTMEDICALHX": "past medical history: illnesses the patient has or had, such as diabetes, high blood pressure, asthma or heart disease",
    "PASTSURGICAL": "past surgical history: operations the patient has had and in which year",
    "PLAN": "treatment plan: instructions, diet, activity as tolerated, follow-up appointment",
    "PROCEDURES": "procedures: interventions that were performed on the patient or are needed",
    "ROS": "review of systems: questions by organ about symptoms such as fever, nausea, cough, chest pain or dizziness, mostly denied",
    # and neither
    "other": "none of the other topics: small talk, hobbies, general knowledge, stories, meetings, anything else",
}
"""Label -> description, in the order of heads.LABELS."""
